"""Is this that person? Passwords, devices, providers, and the sessions that follow."""
