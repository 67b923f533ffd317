"""What a run's captions are worth: flags, repair, canaries, drift, scores, and the page that tells of them."""
