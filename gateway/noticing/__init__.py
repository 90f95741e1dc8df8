"""What does an origin tell of that nobody did?"""
