"""How does somebody come in whom a SAML 2.0 identity provider vouches for? What is pure of it."""
