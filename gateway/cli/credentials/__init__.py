"""Which token does this terminal have, and how do other programs get it?"""
