"""Open the captioner that a config asks for, or tell its id without opening it."""

from recaption.captioners.base import Captioner
from recaption.config import RecaptionConfig


def open_captioner(config: RecaptionConfig) -> Captioner:
    """Load or connect to the captioner; raises UserError where there is none, or not the one wanted."""
    if config.captioner == "openai":
        from recaption.captioners.openai_captioner import OpenAICaptioner

        return OpenAICaptioner(config)
    if config.captioner == "vllm":
        from recaption.captioners.vllm_captioner import VllmCaptioner

        return VllmCaptioner(config)
    from recaption.captioners.transformers_captioner import TransformersCaptioner

    return TransformersCaptioner(
        config.model,
        prompt=config.prompt,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        precision=config.precision,
        device=config.device,
    )


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the `captioner_id` of the captioner that `open_captioner` would open; reads the model's files alone."""
    if config.captioner == "openai":
        from recaption.captioners import openai_captioner

        return openai_captioner.identify_captioner(config)
    if config.captioner == "vllm":
        from recaption.captioners import vllm_captioner

        return vllm_captioner.identify_captioner(config)
    from recaption.captioners import transformers_captioner

    return transformers_captioner.identify_captioner(config)
