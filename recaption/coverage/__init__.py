"""What of the published captions reached one's own copy of the pictures."""
