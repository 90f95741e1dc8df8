"""Who may do what, and how do people, builds and customers come in?"""
