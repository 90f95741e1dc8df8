"""Where do the things lie that may be forgotten, and which go first?"""
