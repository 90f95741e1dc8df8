"""How do packages come in, how are they found, and what is done to them?"""
