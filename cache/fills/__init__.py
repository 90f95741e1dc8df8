"""How does one object get here once, for all who wait for it?"""
