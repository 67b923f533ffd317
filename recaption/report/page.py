"""A run's facts as an HTML page and as Markdown."""

from collections.abc import Iterator, Sequence

from imagetext.sidecars import RECAPTION_COLUMN
from recaption.report import sections
from recaption.report.config import ReportConfig
from recaption.report.facts import RunFacts, ToldRow
from recaption.report.sections import Table
from recaption.report.shown import shown, shown_in_markdown
from runtime.charts import Bar, Series, bar_chart, line_chart
from runtime.html import Card, Page
from runtime.tables import markdown_table

_CHART_UNITS_MAX = 400
"""Units in a chart over units; of more, every n-th."""
_BARS_MAX = 6


def build_page(config: ReportConfig, facts: RunFacts, drawn: Sequence[Card], worst: Sequence[Card], lack: str) -> Page:
    """Return the page; `lack` says why there are no pictures, empty where there are."""
    page = Page(f"Captions of {shown(config.recaptions.name)}", _subtitle(facts))
    page.section("Rows")
    page.facts(sections.headline(facts))
    found = {table.title: table for table in sections.tables(facts)}
    _add(page, found, "Rows by status", "Why rows have no caption")
    page.section("Before and after")
    if lack:
        page.paragraph(f"No pictures: {shown(lack)}")
    page.cards(drawn)
    page.section("Captions")
    page.charts(list(_charts(facts)))
    _add(page, found, "Words", "Flags")
    page.section("Worst rows")
    page.paragraph("Of the rows read: those with the most defects, then those whose captions are least likely.")
    page.cards(worst)
    if not worst:
        rows = [[shown(value) for value in row] for row in _worst_rows(facts.worst)]
        page.table(("row", "caption", "flags"), rows, text_columns=(1, 2))
    page.section("Units and time")
    page.charts(list(_unit_charts(facts)))
    _add(page, found, "Units with the fewest clean captions", "Throughput", "Slowest units")
    page.section("What made them")
    page.table(("setting", "value"), [(name, shown(value)) for name, value in sections.provenance(facts)])
    return page


def as_markdown(config: ReportConfig, facts: RunFacts) -> str:
    """Return the page as Markdown, without pictures."""
    parts = [f"# Captions of {shown_in_markdown(config.recaptions.name)}", shown_in_markdown(_subtitle(facts))]
    parts.append(markdown_table(("", ""), list(sections.headline(facts).items()), ("left", "left")))
    for table in sections.tables(facts):
        cells = [[_cell(value) for value in row] for row in table.rows]
        aligns = ["left" if place in (0, *table.text_columns) else "right" for place in range(len(table.headers))]
        parts += [f"## {table.title}", markdown_table(table.headers, cells, aligns)]  # type: ignore[arg-type]
        parts += [table.note] if table.note else []
    rows = [[_cell(value) for value in row] for row in _worst_rows(facts.worst)]
    parts += ["## Worst rows", markdown_table(("row", "caption", "flags"), rows, ("left", "left", "left"))]
    rows = [[name, _cell(value)] for name, value in sections.provenance(facts)]
    parts += ["## What made them", markdown_table(("setting", "value"), rows, ("left", "left"))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _subtitle(facts: RunFacts) -> str:
    state = "done" if facts.done else "unfinished" if facts.manifest is not None else "imported"
    return (
        f"{state}; counts are of all rows of {facts.totals.num_units} finished units, words and flags by row of "
        f"{facts.rates.num_rows} rows in {facts.num_units_read} of them."
    )


def _add(page: Page, found: dict[str, Table], *titles: str) -> None:
    for table in (found[title] for title in titles if title in found):
        page.subsection(table.title)
        rows = [[shown(value) for value in row] for row in table.rows]
        page.table(table.headers, rows, caption=table.note, text_columns=table.text_columns)


def _charts(facts: RunFacts) -> Iterator[tuple[str, str]]:
    if facts.words:
        curves = [Series(name=name, x=x, y=y) for name, (x, y) in sections.length_curves(facts.words).items()]
        yield line_chart(curves, x_label="words", y_label="% of captions"), "Lengths of captions, in tens of words."
    flags = sorted(sections.flag_rows(facts), key=lambda row: -row[2])[:_BARS_MAX]
    if flags:
        bars = [Bar(name=name.replace("_", " "), value=share) for name, _, share in flags]
        yield bar_chart(bars, y_label="% of captions"), "The commonest flags."


def _unit_charts(facts: RunFacts) -> Iterator[tuple[str, str]]:
    told = [mark for mark in facts.marks if mark.rates]
    told = told[:: max(1, -(-len(told) // _CHART_UNITS_MAX))]
    if len(told) < 2:
        return
    places = list(range(len(told)))
    lengths = Series(name="mean length", x=places, y=[float(mark.rates["mean_words"]) for mark in told])
    yield line_chart([lengths], x_label="unit", y_label="words", markers=False), "Mean length of captions by unit."
    shares = {
        "not clean": [100 - 100 * float(mark.rates["clean_share"]) for mark in told],
        "repeated": [100 * float(mark.rates["repeated_share"]) for mark in told],
    }
    lines = [Series(name=name, x=places, y=values) for name, values in shares.items()]
    yield line_chart(lines, x_label="unit", y_label="% of captions", markers=False), "Defective and repeated, by unit."


def _worst_rows(rows: Sequence[ToldRow]) -> list[tuple[str, str, str]]:
    return [
        (f"{row.unit} / {row.columns['key']}", row.columns[RECAPTION_COLUMN] or "(empty)", ", ".join(row.flags))
        for row in rows
    ]


def _cell(value: object) -> str:
    return shown_in_markdown(value)
