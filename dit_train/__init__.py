"""Text-to-image diffusion on mixed captions."""
