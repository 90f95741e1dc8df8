"""What is a node to hold before anybody asks, and how does it come here?"""
