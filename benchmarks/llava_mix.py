"""Lengths of LLaVA-1.5's 665,000 conversations, drawn from what is published of them; the data itself is not needed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from runtime.seeds import numpy_generator

MAX_LENGTH_TOKENS = 2048
"""LLaVA cuts longer conversations off (scripts/v1_5/finetune.sh)."""
IMAGE_TOKENS = 576
"""24 x 24 patches."""
_NEW_LINE_TOKENS = 1
"""After a picture."""
_HEADER_TOKENS = 2 * 5
"""Of a question and its answer in LLaMA-3's template: four open each turn, one ends it."""
_CHARACTERS_PER_TOKEN, _CHARACTERS_SPREAD = 4.4, 0.15
"""Of a conversation's text, the mean and, assumed, its standard deviation among conversations as a share of it."""


@dataclass(frozen=True)
class Source:
    """One part of the mix."""

    name: str
    thousands: int
    """Conversations, in thousands: LLaVA-1.5 (arXiv 2310.03744), table of the instruction-following data mixture."""
    pairs: int | float
    """Mean number of questions and answers in a conversation."""
    pair_tokens: int | float
    """Mean tokens of one question and its answer, without the template's."""
    basis: str
    """Where the two means come from."""
    spread: float = 0.4
    """Standard deviation of a conversation's text length, as a share of its mean, at a given number of pairs."""
    has_image: bool = True


SOURCES = (
    Source("LLaVA conversations", 58, 4.4, 80, "file of 126 MB less its JSON, 4.4 characters a token; pairs assumed"),
    Source("LLaVA details", 23, 1, 150, "file of 20.5 MB, likewise"),
    Source("LLaVA reasoning", 77, 1, 180, "file of 79.6 MB, likewise"),
    Source("ShareGPT", 40, 4, 499, "161 + 338 tokens a pair (arXiv 2309.06180, fig. 11); pairs assumed", 0.8, False),
    Source("VQAv2", 83, 5.4, 10, "443,757 questions on 82,783 images; tokens assumed"),
    Source("GQA", 72, 13.1, 12, "943,000 questions on 72,140 images; tokens assumed"),
    Source("OKVQA", 9, 1, 22, "one question an image; tokens assumed"),
    Source("OCRVQA", 80, 4.8, 12, "1,002,146 questions on 207,572 covers; tokens assumed"),
    Source("A-OKVQA", 66, 1, 60, "one multiple choice; tokens assumed"),
    Source("TextCaps", 22, 1, 90, "one caption, texts in the prompt; tokens assumed"),
    Source("RefCOCO", 48, 5, 32, "fewer than 10 pairs a conversation; the rest assumed"),
    Source("Visual Genome", 86, 10, 33, "10 annotations an image; tokens assumed"),
)  # fmt: skip
"""Sizes of LLaVA's own files: its repository, docs/Data.md. All numbers are quoted, none was counted in the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix:
    """What is known of conversations, in random order."""

    lengths: Int64[np.ndarray, " conversations"]
    """Tokens, pictures and templates included, none beyond the longest that LLaVA keeps."""
    num_characters: Int64[np.ndarray, " conversations"]
    """Characters of what is said."""
    has_image: Bool[np.ndarray, " conversations"]
    """Whether a picture is spoken of."""


def draw_mix(num_conversations: int, *, text_scale: int | float = 1.0) -> Mix:
    """Draw conversations; `text_scale` multiplies all texts.

    Each conversation belongs to a source by its share; its pairs are one plus a Poisson number, its text is gamma
    distributed about pairs times tokens. The same on every machine.
    """
    generator = numpy_generator("benchmarks", "llava_mix")
    shares = np.array([source.thousands for source in SOURCES], dtype=float)
    chosen = generator.choice(len(SOURCES), size=num_conversations, p=shares / shares.sum())
    pairs_mean, pair_tokens, spread, has_image = (
        np.array([getattr(source, name) for source in SOURCES])[chosen]
        for name in ("pairs", "pair_tokens", "spread", "has_image")
    )
    pairs = 1 + generator.poisson(pairs_mean - 1)
    noise = generator.gamma(spread**-2, spread**2)
    text = np.maximum(1, np.rint(pairs * pair_tokens * noise * text_scale)).astype(np.int64)
    lengths = 1 + has_image * (IMAGE_TOKENS + _NEW_LINE_TOKENS) + pairs * _HEADER_TOKENS + text
    per_token = _CHARACTERS_PER_TOKEN * (1 + _CHARACTERS_SPREAD * generator.standard_normal(num_conversations))
    return Mix(
        lengths=np.minimum(lengths, MAX_LENGTH_TOKENS),
        num_characters=np.rint(text * per_token.clip(min=1)).astype(np.int64),
        has_image=has_image.astype(bool),
    )
