"""Which native protocols are spoken here? Adding one is a folder and a line in this list."""
