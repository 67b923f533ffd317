"""A job on disk: what it was started with, what is done, and whether that is right."""
