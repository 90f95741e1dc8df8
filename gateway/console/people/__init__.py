"""Who is there, what was each given, and with which credentials do they come?"""
