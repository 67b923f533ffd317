"""How captions are drawn that are asked for again, otherwise than a job's others."""

from recaption.config import RecaptionConfig
from recaption.named_prompts import Decoding
from runtime import seeds


def max_tokens_again(config: RecaptionConfig) -> int:
    """Return the most tokens of a caption in the steps more_tokens and sampled."""
    return max(config.max_new_tokens, config.repair.max_new_tokens)


def sampled_again(config: RecaptionConfig) -> Decoding:
    """Return how captions are drawn in the step sampled; its draws are none of the first asking's."""
    return Decoding(temperature=config.repair.temperature, seed=seeds.derive(config.seed, "repair"))
