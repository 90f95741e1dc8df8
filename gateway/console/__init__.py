"""How is a node managed over HTTP? Everything under `/-/` that is not about packages themselves."""
