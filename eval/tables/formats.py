"""One table in the formats that papers and spreadsheets want; every number comes from the same cells as Markdown's."""

import csv
import io
import re

from eval.tables.table import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "\u00a0": "~",
}
PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"


def latex(table: Table) -> str:
    """Write a table environment with booktabs' rules, shrunk to the text's width; notes stand below."""
    columns = "".join("l" if index in table.text_columns else "r" for index in range(len(table.headers)))
    body = "\n".join(_latex_row(row) for row in table.rows)
    notes = "".join(f"\n\\par\\footnotesize {escaped(note)}" for note in table.notes)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escaped(table.title)}}}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{_latex_row(table.headers)}\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}}}{notes}\n\\end{{table}}\n"
    )


def comma_separated(table: Table) -> str:
    """Write headers and rows; a cell `value [low, high]` becomes three columns where any of its column is one."""
    split = [any(_interval(row[index]) for row in table.rows) for index in range(len(table.headers))]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = zip(table.headers, split, strict=True)
    writer.writerow(
        [part for name, apart in names for part in ((name, f"{name} low", f"{name} high")[: 1 + 2 * apart])]
    )
    for row in table.rows:
        writer.writerow([part for cell, apart in zip(row, split, strict=True) for part in _parts(cell, apart)])
    return stream.getvalue()


def file_name(table: Table) -> str:
    """Return a name for the table's own file: its title's words."""
    return re.sub(r"[^a-z0-9]+", "_", table.title.lower()).strip("_")


def escaped(text: str) -> str:
    """Write plain text so that LaTeX prints it as it is."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def _interval(cell: str) -> re.Match[str] | None:
    return re.fullmatch(r"(\S+) \[(\S+),\s(\S+)\]", cell)


def _parts(cell: str, apart: bool) -> tuple[str, ...]:
    if not apart:
        return (cell,)
    found = _interval(cell)
    return (found[1], found[2], found[3]) if found else (cell, "", "")
