"""How does SCIM 2.0 (RFC 7643, RFC 7644) speak of users and groups? Pure: no index, no clock, no socket."""
