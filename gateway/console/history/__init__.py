"""What happened? Changes, as the journal has them, and downloads, as the client log has them."""
