"""Markdown tables."""

from collections.abc import Sequence
from typing import Literal

Align = Literal["left", "right", "center"]

_RULES = {"left": ":---", "right": "---:", "center": ":---:"}


def markdown_table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], align: Sequence[Align] | None = None
) -> str:
    """Return a GitHub-flavoured table whose source lines up too; the first column is left-aligned, others right.

    Raises ValueError for a row with another number of cells than there are headers.
    """
    table = [[_cell(value) for value in row] for row in [headers, *rows]]
    for row in table:
        if len(row) != len(headers):
            raise ValueError(f"a row has {len(row)} cells, the table {len(headers)} columns: {row}")
    alignment = list(align) if align is not None else ["left", *["right"] * (len(headers) - 1)]
    widths = [max(len(_RULES[side]), *(len(row[i]) for row in table)) for i, side in enumerate(alignment)]
    rule = [_rule(side, width) for side, width in zip(alignment, widths)]
    lines = [_pad(table[0], alignment, widths), rule, *(_pad(row, alignment, widths) for row in table[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _rule(side: str, width: int) -> str:
    left, right = (":" if side in names else "-" for names in (("left", "center"), ("right", "center")))
    return left + "-" * (width - 2) + right


def _pad(cells: Sequence[str], alignment: Sequence[str], widths: Sequence[int]) -> list[str]:
    justify = {"left": str.ljust, "right": str.rjust, "center": str.center}
    return [justify[side](cell, width) for cell, side, width in zip(cells, alignment, widths)]
