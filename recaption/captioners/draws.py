"""Seeds of draws that another engine makes: a function of the job's seed, the row's key and the prompt."""

from recaption.named_prompts import Decoding
from runtime import seeds

_SEEDS = 2**31
"""Some servers take seeds of 32 bits alone, with a sign."""


def seed_of_draws(decoding: Decoding, key: str, prompt: str) -> int:
    """Return the seed for an answer, the same for vLLM in the process and for its server."""
    return seeds.derive(decoding.seed, "caption", key, prompt) % _SEEDS
