"""How much may somebody ask for?"""
