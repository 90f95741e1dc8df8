"""What can be asked of packages, and done to them by name?"""
