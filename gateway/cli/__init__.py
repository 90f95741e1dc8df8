"""How does a person, or a script, run and manage a node from a terminal?"""
