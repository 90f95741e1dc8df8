"""How is a node started, looked at, kept up and put beside others?"""
