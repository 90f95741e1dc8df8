"""How does one call go, from its head to its answer? What all routes have in common."""
