"""Contrastive training on mixed captions."""
