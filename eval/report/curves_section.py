"""Charts: scores by share of original captions, ours and the paper's, and training curves."""

from collections.abc import Callable, Mapping, Sequence

from eval import paper_numbers as paper
from eval.curves import read_metrics, series
from eval.findings import Evidence
from eval.registry import RunEntry
from eval.runs import folder_of
from eval.tables.cells import arm_interval
from eval.tables.clip_tables import mixing_arm
from eval.tables.dit_tables import dit_arm
from runtime.charts import Series, line_chart
from runtime.html import Page

SHARE_LABEL = "share of original captions, p"
MAX_CURVES = 8
SHORT_R1 = tuple(
    f"retrieval_short_{name}/{direction}_retrieval_recall@1" for name in "ab" for direction in ("text", "image")
)
LONG_R1 = tuple(f"retrieval_long/{direction}_retrieval_recall@1" for direction in ("text", "image"))
CLIP_CHARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "retrieval R@1, %": {"short": SHORT_R1, "long": LONG_R1},
    "top-1, %": {
        "species, unknown to the captioner": ("species/short_acc1_unknown",),
        "species, known": ("species/short_acc1_known",),
        "kinds": ("kinds/short_acc1",),
    },
    "attribute swap, % (guessing: 50)": {"swap": ("swap/acc",)},
}
DIT_CHARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "claims followed, %": {
        "recaption prompts": ("prompts_recap/claims_fixed",),
        "raw prompts": ("prompts_raw/claims_fixed",),
    },
    "FD[judge]": {"recaption prompts": ("prompts_recap/frechet_fixed",), "raw prompts": ("prompts_raw/frechet_fixed",)},
}
TRAINING = (
    ("foundation", "loss", "Foundation CLIP: loss"),
    ("captioner", "loss", "Captioner: loss"),
    ("clip", "loss", "Contrastive models: loss"),
    ("clip", "text_to_image_accuracy", "Contrastive models: image found among the batch"),
    ("dit", "loss", "Text-to-image models: loss"),
)


def add_mixing(page: Page, evidence: Evidence) -> None:
    """Chart our contrastive scores by p, beside the paper's Table 3."""

    def arm(share: float) -> list[RunEntry]:
        return mixing_arm(evidence.experiments, "b_base", share)

    charts = _by_share(evidence, arm, CLIP_CHARTS, [float(share) for share in paper.TABLE_3 if share != "concat"])
    charts.append((_paper_mixing(), "The paper's Table 3: ImageNet top-1, and the mean R@1 of COCO and Flickr30K."))
    page.charts(charts)


def add_generation(page: Page, evidence: Evidence) -> None:
    """Chart our text-to-image scores by p, beside the paper's Table 7."""

    def arm(share: float) -> list[RunEntry]:
        return dit_arm(evidence.experiments, "b", share)

    charts = _by_share(evidence, arm, DIT_CHARTS, [float(share) for share in paper.TABLE_7])
    shares = [float(share) for share in paper.TABLE_7]
    lines = [
        Series(name=name, x=shares, y=[numbers[column] for numbers in paper.TABLE_7.values()])
        for name, column in (("recaption prompts", 2), ("raw prompts", 0))
    ]
    charts.append((line_chart(lines, x_label=SHARE_LABEL, y_label="FID"), "The paper's Table 7: FID on COCO-30K."))
    page.charts(charts)


def add_training(page: Page, evidence: Evidence) -> None:
    """Chart every stage's training curves, first seeds only."""
    charts = []
    for stage, metric, title in TRAINING:
        lines = _training_lines(evidence, stage, metric)
        if lines:
            charts.append((line_chart(lines, x_label="update", y_label=metric.replace("_", " "), markers=False), title))
    if charts:
        page.section("Training")
        page.charts(charts)


def _by_share(
    evidence: Evidence,
    arm: Callable[[float], list[RunEntry]],
    charts: Mapping[str, Mapping[str, Sequence[str]]],
    shares: Sequence[float],
) -> list[tuple[str, str]]:
    drawn = []
    for label, groups in charts.items():
        scale = 1.0 if label.startswith("FD") else 100.0
        lines = [_share_line(evidence, arm, name, metrics, shares, scale) for name, metrics in groups.items()]
        kept = [line for line in lines if line.x]
        if kept:
            drawn.append((line_chart(kept, x_label=SHARE_LABEL, y_label=label), f"Ours: {label}, with 95 % intervals."))
    return drawn


def _share_line(
    evidence: Evidence,
    arm: Callable[[float], list[RunEntry]],
    name: str,
    metrics: Sequence[str],
    shares: Sequence[float],
    scale: float,
) -> Series:
    points = []
    for share in sorted(shares):
        found = arm_interval(evidence.results, arm(share), metrics, evidence.replicates)
        if found is not None:
            points.append((share, found[0]))
    return Series(
        name=name,
        x=[share for share, _ in points],
        y=[scale * interval.value for _, interval in points],
        low=[scale * interval.low for _, interval in points],
        high=[scale * interval.high for _, interval in points],
    )


def _paper_mixing() -> str:
    rows = [(float(share), numbers) for share, numbers in paper.TABLE_3.items() if share != "concat"]
    shares = [share for share, _ in rows]
    lines = [
        Series(name="ImageNet top-1", x=shares, y=[numbers[0] for _, numbers in rows]),
        Series(name="mean R@1", x=shares, y=[sum(numbers[1:]) / 4 for _, numbers in rows]),
    ]
    return line_chart(lines, x_label=SHARE_LABEL, y_label="paper, %")


def _training_lines(evidence: Evidence, stage: str, metric: str) -> list[Series]:
    runs = [run for run in evidence.experiments.select(stage=stage, knockout=None) if run.seed == 0]
    # Arms of the mixed-ratio table come first: a chart holds no more lines than there are colours.
    runs.sort(key=lambda run: (run.model not in ("b_base", "b"), run.name))
    lines = []
    for run in runs:
        points = series(read_metrics(folder_of(evidence.root, run)), metric)
        if points:
            lines.append(Series(name=run.name, x=[x for x, _ in points], y=[y for _, y in points]))
    return lines[:MAX_CURVES]
