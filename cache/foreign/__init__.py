"""What do foreign registries know, and what of it is here?"""
