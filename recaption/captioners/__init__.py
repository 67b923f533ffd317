"""Captioners behind one seam: embedded transformers, vLLM in the process, any OpenAI-compatible server."""
