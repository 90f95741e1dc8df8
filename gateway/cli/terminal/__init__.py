"""How does any command speak to a node and to the person at the terminal?"""
