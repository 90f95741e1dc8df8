"""Which node is which, and what may each see?"""
