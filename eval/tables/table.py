"""What a table is, before it becomes Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.tables import Align, markdown_table

NOT_RUN = "not run in this preset"
NOTHING = "–"
"""What a cell says when there is nothing to put in it."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table with notes below it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    text_columns: tuple[int, ...] = (0,)
    """Columns set left; the others hold numbers."""

    def markdown(self) -> str:
        """Write the table as a Markdown section."""
        notes = "".join(f"\n{note}\n" for note in self.notes)
        align: list[Align] = ["left" if index in self.text_columns else "right" for index in range(len(self.headers))]
        return f"## {self.title}\n\n{markdown_table(self.headers, self.rows, align)}{notes}"


def interleaved(ours: Sequence[str], paper: Sequence[str]) -> tuple[str, ...]:
    """Set our numbers beside the paper's: ours, paper, ours, paper, ..."""
    return tuple(cell for pair in zip(ours, paper, strict=True) for cell in pair)


def paper_cell(value: float | None, digits: int = 1) -> str:
    """Format a number of the paper's, whose tables carry no intervals."""
    return NOTHING if value is None else f"{value:.{digits}f}"
