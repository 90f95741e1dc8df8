"""Given who asks: may he do that, there, from where he is, and which rule says so?"""
