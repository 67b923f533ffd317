"""Which conversations share a row, so that little of a batch is padding."""

from collections.abc import Sequence

LENGTH_MULTIPLE = 8
"""Rows are padded to a multiple of this: fewer distinct shapes."""
WIDTH_STEP = 64
"""Widths that are tried lie this far apart."""


def padded_width(num_tokens: int) -> int:
    """Return the width of a row that holds so many tokens."""
    return -(-num_tokens // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def pack(lengths: Sequence[int], max_row_tokens: int) -> list[list[int]]:
    """Return rows of sample indices; no row has more than `max_row_tokens` tokens, each sample is in one row.

    Rows narrower than the widest allowed often leave less padding. So first-fit decreasing runs once for each of some
    widths from the longest sample up, and the rows of least padded area win; of equals the narrowest, since attention
    that masks costs the square of the width. The area is never more than that of a row each.
    """
    longest = max(lengths, default=0)
    assert longest <= max_row_tokens, "what is too long for a row is cut when it is rendered"
    widths = [*range(longest, max_row_tokens, WIDTH_STEP), max_row_tokens]
    packings = (first_fit_decreasing(lengths, width) for width in widths)
    return min(packings, key=lambda rows: padded_tokens(lengths, rows))


def first_fit_decreasing(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Put samples, the longest first, each into the first row that has room for it (Johnson 1973).

    Never more than 11/9 of the fewest rows possible, plus one.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, left in enumerate(room) if left >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def padded_tokens(lengths: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    """Return the tokens of a batch of these rows, padding included."""
    return len(rows) * padded_width(max((sum(lengths[index] for index in row) for row in rows), default=0))
