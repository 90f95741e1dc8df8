"""What may a request body hold, how is a noun shown, what shape has an answer?"""
