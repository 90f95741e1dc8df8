"""Pages for people: signing in and out, what is theirs, and whether a program may have a token."""
