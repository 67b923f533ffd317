"""A table of the results on the page."""

from eval.tables.table import NOT_RUN, Table
from runtime.html import Page


def add_table(page: Page, table: Table, *, titled: bool = True) -> None:
    """Add a table with its notes below, under its title unless the section already has it."""
    if titled:
        page.subsection(table.title)
    if not table.rows:
        page.paragraph("Nothing was measured.")
        return
    rows = [[_short(cell) for cell in row] for row in table.rows]
    page.table(table.headers, rows, text_columns=table.text_columns)
    if any(NOT_RUN in row for row in table.rows):
        page.paragraph(f"{_short(NOT_RUN)}: {NOT_RUN}.")
    for note in table.notes:
        page.paragraph(note)


def _short(cell: str) -> str:
    """Save the page's width: say `not run` for short, and keep `p = 0.8` on one line."""
    return "not\u00a0run" if cell == NOT_RUN else cell.replace("p = ", "p\u00a0=\u00a0")
