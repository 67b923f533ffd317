"""Fine-tune the captioner."""
