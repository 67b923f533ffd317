"""Open the captioner that a config asks for."""

from recaption.captioners.base import Captioner
from recaption.config import RecaptionConfig


def open_captioner(config: RecaptionConfig) -> Captioner:
    """Load or connect to the captioner; raises UserError where there is none, or not the one wanted."""
    from recaption.captioners.transformers_captioner import TransformersCaptioner

    return TransformersCaptioner(
        config.model,
        prompt=config.prompt,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        precision=config.precision,
        device=config.device,
    )
