"""How is this node, and which other nodes and host names are there?"""
