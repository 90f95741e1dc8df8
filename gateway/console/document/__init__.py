"""What does the API take and give, as programs and people read it?"""
