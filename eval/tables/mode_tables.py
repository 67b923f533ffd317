"""Beyond the paper's prompt: what captions are worth whose writer knows the alt-text."""

from eval.modes import SOURCES, metric_name
from eval.registry import Experiments
from eval.results import Results
from eval.tables.caption_tables import captioners
from eval.tables.cells import Column
from eval.tables.table import NOTHING, Table

TITLES = {
    "alt_text": "the alt-text itself",
    "paper": "the paper's prompt",
    "concat": "concat: both in a row",
    "conditioned": "conditioned, sampled",
    "conditioned_greedy": "conditioned, greedy",
    "knowledge": "knowledge-keeping",
}
"""What the suite's sources are called."""
SHORT_TITLES = {
    "alt_text": "alt-text",
    "paper": "paper",
    "concat": "concat",
    "conditioned": "conditioned",
    "conditioned_greedy": "greedy",
    "knowledge": "knowledge",
}
"""The same below the bars of a chart."""
_COLUMNS = {
    "words": "words",
    "coverage %": "coverage",
    "unsupported %": "unsupported",
    "rare names kept %": "rare_names_kept",
    "known names kept %": "known_names_kept",
    "false names repeated %": "false_names_repeated",
    "copied %": "copied",
    "echoed %": "echoed",
}


def modes_table(results: Results, experiments: Experiments) -> Table:
    """Set claims, names, copies and echoes of the modes beside the paper's prompt and the alt-text."""
    runs = captioners(experiments)
    rows = []
    for source in SOURCES:
        cells = [
            Column(results, metric_name(source, metric), scale=1.0 if metric == "words" else 100.0).cell(runs)
            for metric in _COLUMNS.values()
        ]
        if any(cell != NOTHING for cell in cells):
            rows.append((TITLES[source], *cells))
    notes = (
        "Held-out pictures of the web domain, their alt-text unfiltered. Names are species that the alt-text names: "
        "kept are those that the picture has, told of a thing of that kind; repeated are those that it has not, told "
        "of anything. Rare ones are in no caption that the captioner was taught under the paper's prompt: only the "
        "web tells them.",
        "Copied: six words in a row, or half of the triples, are the alt-text's, of captions that have one; where the "
        "captioner was not told it, that is chance. Echoed: six words in a row are the request's. Captions are as "
        "first said, without the second asking that a run makes of such rows.",
        "Concat sets the alt-text before the caption and asks no model. What both tell it tells twice, and what a "
        "picture has once is then claimed once too often.",
    )
    title = "Beyond the paper's prompt: captions that know the alt-text"
    return Table(title=title, headers=("captions", *_COLUMNS), rows=tuple(rows), notes=notes)
