"""How fast is it, against what, and under which conditions?"""
