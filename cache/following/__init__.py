"""How does a node follow another one's journal, and how do writes get to where they are decided?"""
