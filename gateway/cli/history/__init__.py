"""What happened: to what is stored, and on behalf of clients?"""
