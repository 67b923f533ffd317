"""What published protocols do to texts before the tokenizer sees them."""

import re
import string
from collections.abc import Callable, Mapping

from eval.datasets.entries import TextRule


def first_line(text: str) -> str:
    """Keep the first line, as Long-CLIP reads Urban1K."""
    return text.split("\n")[0]


def sentences(text: str) -> str:
    """Part at line ends, `</s>` and full stops and join by ". " without the last stop, as LoTLIP reads long texts."""
    parts = (part.strip() for part in re.split(r"\n|</s>|[.]", text))
    return ". ".join(part for part in parts if part)


def canonical(text: str) -> str:
    """Drop punctuation and case, underscores read as spaces, as CLIPA's evaluator does to class names and prompts."""
    bare = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    return " ".join(bare.lower().split())


TEXT_RULES: Mapping[TextRule, Callable[[str], str]] = {
    "as_is": str,
    "first_line": first_line,
    "sentences": sentences,
    "canonical": canonical,
}
