"""What does a node do with packages made to break it? Corpora of each room, and what sends and judges them."""
