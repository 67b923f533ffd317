"""The modes in which a captioner knows the alt-text: what one pass asks, and which column holds the answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from imagetext.alt_text_prompts import CONDITIONED_PROMPT
from imagetext.mix import CONCAT
from imagetext.sidecars import RECAPTION_COLUMN

MODES_RECIPE = "modes"
"""Recipe of the runs that ask for all modes (`RunEntry.recipe`)."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One request to the captioner."""

    prompt: str
    """As `recaption run --prompt` takes it."""
    column: str
    """Sidecar column of the answers."""


MODES: Mapping[str, Mode] = {
    "conditioned": Mode(prompt="@conditioned", column=RECAPTION_COLUMN),
    # Greedy, as a text of one's own is answered: what knowing the alt-text does, apart from what drawing tokens does.
    "conditioned_greedy": Mode(prompt=CONDITIONED_PROMPT, column=f"{RECAPTION_COLUMN}_greedy"),
    "knowledge": Mode(prompt="@knowledge", column=f"{RECAPTION_COLUMN}_knowledge"),
}
"""Modes by name; the first is the run's `prompt`, the others are its `more_prompts`."""

SPLIT = "web_heldout"
"""Pictures on which the modes are measured."""
ALT_TEXT, PAPER = "alt_text", "paper"
SOURCES = (ALT_TEXT, PAPER, CONCAT, *MODES)
"""What is compared: the alt-text as it is, the captioner under the paper's prompt, both in a row, and the modes."""


def metric_name(source: str, metric: str) -> str:
    """Return the name of a row that tells of one source."""
    return f"{SPLIT}/mode_{source}_{metric}"
