"""The prompts of a job: one caption column each, filled in row by row."""

from collections.abc import Sequence
from dataclasses import replace

from imagetext.alt_text_prompts import ALT_TEXT_MARK, clean_alt_text, put_alt_text
from imagetext.sidecars import RECAPTION_COLUMN
from recaption.captioners.identity import identify_prompt
from recaption.config import RecaptionConfig
from recaption.inputs.units import InputRow
from recaption.leaks import find_leaks
from recaption.named_prompts import Decoding, Prompt, resolve


def job_prompts(config: RecaptionConfig) -> dict[str, Prompt]:
    """Return a job's prompts by the column that their captions go to, `re_caption` first."""
    more = {
        f"{RECAPTION_COLUMN}_{suffix}": resolve(prompt, where=f"more_prompts.{suffix}")
        for suffix, prompt in config.more_prompts.items()
    }
    return {RECAPTION_COLUMN: resolve(config.prompt), **more}


def prompts_for(config: RecaptionConfig, row: InputRow) -> tuple[str, ...]:
    """Return what is asked about a row's picture, in the order of the job's prompts.

    A prompt that wants the row's own caption is asked without it where the row has none.
    """
    return tuple(
        put_alt_text(prompt.text, row.caption, unconditioned=prompt.unconditioned)
        for prompt in job_prompts(config).values()
    )


def prompts_without_condition(config: RecaptionConfig) -> tuple[str, ...]:
    """Return what is asked, in the same order, when no answer may know the row's own caption."""
    return tuple(prompt.unconditioned for prompt in job_prompts(config).values())


def leaks_in(
    config: RecaptionConfig, row: InputRow, asked: Sequence[str], texts: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return the flags (`recaption.leaks`) that each of a row's captions raises, in the order of the job's prompts.

    `asked` is what they answer: `prompts_for`, or what stood there instead.
    """
    alt_text = clean_alt_text(row.caption)
    found = []
    prompts = job_prompts(config).values()
    for prompt, wanted, said, text in zip(prompts, prompts_for(config, row), asked, texts, strict=True):
        knew = prompt.conditioned and said == wanted and said != prompt.unconditioned
        words = prompt.text.replace(ALT_TEXT_MARK, "") if knew else said
        found.append(find_leaks(text, prompt=words, alt_text=alt_text if knew else None))
    return tuple(found)


def decodings_for(config: RecaptionConfig) -> tuple[Decoding, ...]:
    """Return how the answers to each prompt are drawn, in the same order."""
    return tuple(_decoding(config, prompt.decoding) for prompt in job_prompts(config).values())


def identify_prompts(config: RecaptionConfig) -> str:
    """Return the id of all that a job asks: of a lone prompt its text's, names resolved."""
    prompts = job_prompts(config)
    if len(prompts) == 1 and not prompts[RECAPTION_COLUMN].conditioned:
        return identify_prompt(prompts[RECAPTION_COLUMN].text)
    texts = (f"{column}\0{prompt.text}\0{prompt.unconditioned}" for column, prompt in prompts.items())
    return identify_prompt("\0".join(texts))


def _decoding(config: RecaptionConfig, own: Decoding) -> Decoding:
    """Return a prompt's own decoding with what the job's config says in its place."""
    return replace(
        own,
        seed=config.seed,
        temperature=own.temperature if config.temperature is None else config.temperature,
        top_k=own.top_k if config.top_k is None else config.top_k,
    )
