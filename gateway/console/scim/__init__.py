"""How does a Workspace's identity provider keep its users and teams here? By SCIM, with a token for that alone."""
