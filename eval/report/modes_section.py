"""Captions by one who knows the alt-text, beside the paper's prompt: charts, the table, pictures."""

from collections.abc import Mapping, Sequence

from eval.findings import Evidence
from eval.modes import ALT_TEXT, MODES, MODES_RECIPE, PAPER, SOURCES, SPLIT, metric_name
from eval.report.captions_section import claims_label
from eval.report.table_section import add_table
from eval.tables.caption_tables import captioners
from eval.tables.mode_tables import SHORT_TITLES, TITLES, modes_table
from eval.truth import TrueSample, read_true_samples
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar
from miniweb.grammar import KNOWN_NAMES
from miniweb.hearsay import names_in
from runtime.charts import Bar, bar_chart
from runtime.html import Card, Page

NUM_CARDS = 8
_CHARTS = {
    "rare_names_kept": "rare true names kept, %",
    "false_names_repeated": "false names repeated, %",
    "unsupported": "claims that do not hold, %",
}


def add_modes(page: Page, evidence: Evidence) -> None:
    """Show what knowing the alt-text brings and costs; nothing where it was not measured."""
    table = modes_table(evidence.results, evidence.experiments)
    if not table.rows:
        return
    page.section("Captions that know the alt-text")
    bars = {label: _bars(evidence, metric) for metric, label in _CHARTS.items()}
    page.charts([(bar_chart(each, y_label=label), f"{label}.") for label, each in bars.items() if each])
    add_table(page, table, titled=False)
    cards = example_cards(evidence)
    if cards:
        page.paragraph("The first held-out pictures whose alt-text has a name that only the web tells, true or false.")
        page.cards(cards)


def example_cards(evidence: Evidence) -> list[Card]:
    """Put what every source says beside some pictures; empty where nothing was captioned in these modes."""
    runs = evidence.experiments.select(stage="recaption", recipe=MODES_RECIPE)
    split, recaptions = evidence.root / "data" / SPLIT, evidence.root / "recaption"
    if not runs or not split.exists() or not (recaptions / runs[0].name).exists():
        return []
    samples = [each for each in read_true_samples(split) if set(names_in(each.original)) - KNOWN_NAMES][:NUM_CARDS]
    places = {PAPER: (recaptions / SPLIT, RECAPTION_COLUMN)}
    places |= {name: (recaptions / runs[0].name, mode.column) for name, mode in MODES.items()}
    captions = {
        source: {
            key: row.caption or ""
            for shard in {each.shard for each in samples}
            for key, row in read_sidecar(folder, shard, column).items()
        }
        for source, (folder, column) in places.items()
    }
    return [_card(each, captions) for each in samples]


def _card(sample: TrueSample, captions: Mapping[str, Mapping[str, str]]) -> Card:
    said = {ALT_TEXT: sample.original, **{source: by_key.get(sample.key, "") for source, by_key in captions.items()}}
    texts = {claims_label(TITLES[source], text, sample): text or "(none)" for source, text in said.items()}
    return Card(image=sample.image, texts=texts)


def _bars(evidence: Evidence, metric: str) -> Sequence[Bar]:
    bars = []
    for source in SOURCES:
        name = metric_name(source, metric)
        rows = [evidence.results.row(run.qualified_name, name) for run in captioners(evidence.experiments)]
        row = next((row for row in rows if row is not None), None)
        if row is not None:
            bars.append(Bar(name=SHORT_TITLES[source], value=100 * row.value, low=100 * row.low, high=100 * row.high))
    return bars
