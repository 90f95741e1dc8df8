"""The story of several regions: their world, what is asked in it, and what is done to it."""
