"""A table of the results on the page."""

from eval.tables.table import Table
from runtime.html import Page


def add_table(page: Page, table: Table, *, titled: bool = True) -> None:
    """Add a table with its notes below, under its title unless the section already has it."""
    if titled:
        page.subsection(table.title)
    if not table.rows:
        page.paragraph("Nothing was measured.")
        return
    page.table(table.headers, table.rows, text_columns=table.text_columns)
    for note in table.notes:
        page.paragraph(note)
