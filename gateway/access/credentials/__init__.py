"""Which credentials are made of a Token for a short while?"""
