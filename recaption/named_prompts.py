"""What captioners are asked, by name: the words, whether the picture's own text goes in, and how answers are drawn."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagetext.alt_text_prompts import ALT_TEXT_MARK, CONDITIONED_PROMPT, KNOWLEDGE_PROMPT
from imagetext.conversations import PAPER_PROMPT
from runtime.errors import UserError

TEMPERATURE_MAX = 2.0
"""Highest temperature that OpenAI's protocol takes."""

_COLUMN_ENDING = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a caption's tokens are chosen."""

    temperature: float = 0.0
    """Divides the logits before a draw; 0 takes the likeliest token."""
    top_k: int = 50
    """Tokens are drawn from this many likeliest, weighted by their probabilities."""
    seed: int = 0
    """Draws are a function of this, the row's key and the prompt."""

    @property
    def greedy(self) -> bool:
        """Tell whether nothing is drawn."""
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A request to a captioner, before it is filled in for a row."""

    text: str
    """What is asked; `{alt_text}` stands for the text that the picture came with."""
    unconditioned: str
    """What is asked instead where there is no such text, or where an answer copied it."""
    decoding: Decoding = Decoding()
    """How answers are drawn unless the job says otherwise."""

    @property
    def conditioned(self) -> bool:
        """Tell whether the picture's text goes into the prompt."""
        return ALT_TEXT_MARK in self.text


_SHORT = "Please describe this image in one short sentence."
_DETAILED = (
    "Please describe this image in detail: what is in it, how each thing looks, how many there are and where they are,"
    " what is happening, any text that can be read, the place, and the style of the picture."
)

NAMED_PROMPTS = {
    "paper": Prompt(text=PAPER_PROMPT, unconditioned=PAPER_PROMPT),
    # The second version of Recap-DataComp-1B is conditioned on the original caption and drawn by weighted top-k
    # sampling (arXiv 2509.01644, footnote 1); its wording, k and temperature are unpublished: these are ours.
    "conditioned": Prompt(text=CONDITIONED_PROMPT, unconditioned=PAPER_PROMPT, decoding=Decoding(temperature=0.7)),
    "knowledge": Prompt(text=KNOWLEDGE_PROMPT, unconditioned=PAPER_PROMPT),
    "short": Prompt(text=_SHORT, unconditioned=_SHORT),
    "detailed": Prompt(text=_DETAILED, unconditioned=_DETAILED),
}
"""Prompts that a config names as `@paper`, `@conditioned`, `@knowledge`, `@short` and `@detailed`."""


def resolve(prompt: str, *, where: str = "prompt") -> Prompt:
    """Return the prompt of a name (`@paper`), or of a text of one's own.

    Raises UserError for an unknown name and for an empty text.
    """
    if prompt.startswith("@"):
        named = NAMED_PROMPTS.get(prompt[1:])
        if named is None:
            wanted = f"a text, or one of {', '.join(f'@{name}' for name in NAMED_PROMPTS)}"
            raise UserError("unknown prompt", where=where, found=prompt, wanted=wanted)
        return named
    if not prompt.strip():
        raise UserError("empty", where=where, found=prompt, wanted="a request to the captioner")
    return Prompt(text=prompt, unconditioned=PAPER_PROMPT if ALT_TEXT_MARK in prompt else prompt)


def check_prompts(prompt: str, more_prompts: Mapping[str, str], temperature: float | None, top_k: int | None) -> None:
    """Raise UserError for a prompt that is none, an ending that names no column, or sampling that can't be."""
    prompts = [resolve(prompt)]
    for ending, another in more_prompts.items():
        if not _COLUMN_ENDING.fullmatch(ending):
            wanted = "small letters, digits and _, a letter first"
            raise UserError("no ending of a column's name", where="more_prompts", found=ending, wanted=wanted)
        prompts.append(resolve(another, where=f"more_prompts.{ending}"))
    if temperature is not None and not 0 <= temperature <= TEMPERATURE_MAX:
        raise UserError("out of range", where="temperature", found=temperature, wanted=f"from 0 to {TEMPERATURE_MAX}")
    if top_k is not None and top_k < 1:
        raise UserError("out of range", where="top_k", found=top_k, wanted=">= 1")
    samples = any(not one.decoding.greedy for one in prompts) if temperature is None else temperature > 0
    if top_k is not None and not samples:
        fix = "Set temperature too, or leave top_k out"
        raise UserError("nothing is sampled", where="top_k", found=top_k, fix=fix)
