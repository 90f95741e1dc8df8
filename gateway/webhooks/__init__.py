"""Who outside is told of what happens here."""
