"""Captions out to data sets that others read, and the published captions in."""
