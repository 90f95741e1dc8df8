"""How does the history prove itself?"""
