"""One module per suite: what it measures, from files to measurements."""
