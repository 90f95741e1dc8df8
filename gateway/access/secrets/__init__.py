"""Where are the secrets that a node must be able to read again?"""
