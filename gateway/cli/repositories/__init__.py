"""How is a Workspace or a Repository made, and what is set of it?"""
