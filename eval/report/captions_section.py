"""The data, and what was written about it: alt-text, recaption and truth beside the pictures."""

from html import escape
from pathlib import Path

from eval.findings import Evidence
from eval.report.table_section import add_table
from eval.tables import caption_tables
from eval.tables.caption_tables import captioners
from eval.truth import TrueSample, read_true_samples
from imagetext.sidecars import read_sidecar
from miniweb import grammar
from miniweb.claims import check, parse
from runtime import seeds
from runtime.charts import Bar, bar_chart
from runtime.html import Card, Page

NUM_CARDS = 12


def add_data(page: Page, evidence: Evidence) -> None:
    """Show the card of the data set, as its builder wrote it."""
    data = evidence.root / "data"
    if not (data / "manifest.json").exists():
        return
    page.section("The small web")
    page.paragraph(
        "Every picture is drawn from a scene graph, so that the truth of every caption can be checked. Alt-text is "
        "written by a noise model: partial, at times about another picture, at times spam."
    )
    if (data / "card.png").exists():
        page.image(data / "card.png", caption="Twelve pictures with their alt-text and their truth.")
    if (data / "card.md").exists():
        page.details("The data card in full", f"<pre>{escape((data / 'card.md').read_text())}</pre>")


def add_captions(page: Page, evidence: Evidence) -> None:
    """Show captions before and after beside pictures, then their statistics and claims."""
    page.section("Captions, before and after")
    cards = before_and_after(evidence.root)
    if cards:
        page.paragraph(
            "Held-out pictures of the web domain, what their web page said, what the captioner says, and the truth. "
            "Claims are counted as true or false against the scene graph."
        )
        page.cards(cards)
    results, experiments = evidence.results, evidence.experiments
    _add_bars(page, evidence)
    add_table(page, caption_tables.statistics_table(results, experiments))
    add_table(page, caption_tables.claims_table(results, experiments))
    add_table(page, caption_tables.claim_kinds_table(results, experiments))


def before_and_after(root: Path) -> list[Card]:
    """Put alt-text, recaption and truth beside the first held-out pictures; empty where nothing was recaptioned."""
    split, sidecar = root / "data" / "web_heldout", root / "recaption" / "web_heldout"
    if not split.exists() or not sidecar.exists():
        return []
    samples = read_true_samples(split, NUM_CARDS)
    captions = {
        key: row.caption
        for shard in {sample.shard for sample in samples}
        for key, row in read_sidecar(sidecar, shard).items()
    }
    return [_card(sample, captions.get(sample.key) or "") for sample in samples]


def _card(sample: TrueSample, recaption: str) -> Card:
    truth = grammar.describe(sample.scene, seeds.numpy_generator("report", sample.key))
    return Card(
        image=sample.image,
        texts={
            claims_label("alt-text", sample.original, sample): sample.original or "(empty)",
            claims_label("recaption", recaption, sample): recaption or "(none)",
            "truth": truth,
        },
    )


def claims_label(source: str, caption: str, sample: TrueSample) -> str:
    """Return what a caption is called, with how many of its claims hold and do not."""
    checked = check(parse(caption), sample.scene)
    return f"{source} · {len(checked.supported)} true, {len(checked.unsupported) + len(checked.void)} false"


def _add_bars(page: Page, evidence: Evidence) -> None:
    charts = []
    for metric, label in (("coverage", "facts told truly, %"), ("unsupported", "claims that do not hold, %")):
        bars = [bar for source in caption_tables.SOURCES if (bar := _bar(evidence, source, metric)) is not None]
        if bars:
            charts.append((bar_chart(bars, y_label=label), f"Web domain, held out: {label}."))
    if charts:
        page.charts(charts)


def _bar(evidence: Evidence, source: str, metric: str) -> Bar | None:
    for run in captioners(evidence.experiments):
        row = evidence.results.row(run.qualified_name, f"web_heldout/{source}_{metric}")
        if row is not None:
            return Bar(name=source, value=100 * row.value, low=100 * row.low, high=100 * row.high)
    return None
