"""How is a receiver told of what happens?"""
