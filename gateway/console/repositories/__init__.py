"""How are Workspaces and Repositories made, and what is set of each?"""
