"""How is a node doing, and is what it has stored whole?"""
