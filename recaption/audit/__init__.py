"""What captions claim, and how much of it is so: checked against scene graphs, or asked of a vision model."""
