"""The `clip` suite on published test sets: from embeddings to measurements, one test set at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from eval.clip_models import ClipModel
from eval.datasets.entries import Task
from eval.datasets.samples import Picture, TestSet
from eval.encoding import Embedded, Encoding
from eval.outcomes import Outcome, Ratio, macro_mean, mean_of, ratio
from eval.rows import Manifest
from eval.scoring import (
    TIE_POLICIES,
    Mode,
    choice_points,
    first_as_clip_benchmark,
    float32_scores,
    match_pairs,
    search,
    search_as_clip_benchmark,
)
from eval.suite import Measurement, measure
from eval.zeroshot import normalise

RECALL_AT = (1, 5, 10)
CLASSIFIED_AT = (1, 5)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One test set with the embeddings of everything in it."""

    test_set: TestSet
    encoding: Encoding
    model: ClipModel
    mode: Mode

    @property
    def keys(self) -> list[str]:
        """Return the names of the test items."""
        return [sample.key for sample in self.test_set.samples]

    @property
    def as_clip_benchmark(self) -> bool:
        """Tell whether scores are counted as CLIP_benchmark counts them."""
        return self.mode == "clip_benchmark"

    def pictures(self) -> Embedded:
        """Return the features of all pictures, item by item."""
        pictures: list[Picture] = list(self.test_set.pictures())
        return self.encoding.pictures(pictures)

    def column(self, number: int) -> Embedded:
        """Return the features of every item's text of that number."""
        return self.encoding.texts([sample.texts[number] for sample in self.test_set.samples])

    def manifest(self, replicates: int) -> Manifest:
        """Return the protocol, fact by fact."""
        return {
            **self.test_set.manifest(),
            **self.model.facts,
            "mode": self.mode,
            "tie_policy": self.tie_policy,
            "image_decoding": "Pillow's RGB",
            "interval": f"bootstrap over test items, {replicates} replicates",
        }

    @property
    def tie_policy(self) -> str:
        """Say what a tie is worth."""
        entry = self.test_set.entry
        halved = self.mode == "official" and entry.task == "choice" and entry.ties == "half"
        return "half a point" if halved else TIE_POLICIES[self.mode, entry.task]


def measure_bench(bench: Bench, replicates: int) -> Iterator[Measurement]:
    """Yield every number of a test set, metrics named as CLIP_benchmark names them, and its ties and truncation."""
    name = bench.test_set.entry.name.replace("/", "_")
    manifest = bench.manifest(replicates)
    protocol = f"{manifest['num_images']} images, {manifest['num_texts']} texts; ties={bench.tie_policy}"
    outcomes = {**SCORERS[bench.test_set.entry.task](bench), **_lengths(bench)}
    for metric, outcome in outcomes.items():
        yield measure(f"{name}/{metric}", outcome, protocol, replicates, manifest)


def _retrieval(bench: Bench) -> Mapping[str, Outcome]:
    """Search texts by picture and pictures by text; a test item is an image with all its captions."""
    samples = bench.test_set.samples
    pictures, texts = bench.pictures(), bench.encoding.texts(bench.test_set.texts())
    of_picture = np.arange(len(samples))
    of_text = np.repeat(of_picture, [len(sample.texts) for sample in samples])
    outcomes: dict[str, Outcome] = {}
    ks_texts, ks_pictures = (tuple(k for k in RECALL_AT if k <= count) for count in (len(of_text), len(of_picture)))
    if bench.as_clip_benchmark:
        scores = float32_scores(texts, pictures)
        for k in ks_pictures:
            by_text = search_as_clip_benchmark(scores, of_text, of_picture, k)
            outcomes[f"image_retrieval_recall@{k}"] = _gathered(bench, by_text, of_text)
        for k in ks_texts:
            by_picture = search_as_clip_benchmark(scores.T, of_picture, of_text, k)
            outcomes[f"text_retrieval_recall@{k}"] = _per_item(bench, by_picture)
        return outcomes
    found_pictures = search(texts, pictures, of_text, of_picture, ks_pictures)
    found_texts = search(pictures, texts, of_picture, of_text, ks_texts)
    for k, hits in found_pictures.at.items():
        outcomes[f"image_retrieval_recall@{k}"] = _gathered(bench, hits, of_text)
    for k, hits in found_texts.at.items():
        outcomes[f"text_retrieval_recall@{k}"] = _per_item(bench, hits)
    outcomes["image_retrieval_tied_share"] = _gathered(bench, found_pictures.tied.astype(np.float64), of_text)
    outcomes["text_retrieval_tied_share"] = _per_item(bench, found_texts.tied)
    return outcomes


def _classification(bench: Bench) -> Mapping[str, Outcome]:
    """Choose each picture's class by the mean of the class's prompts."""
    classes, pictures = bench.test_set.contents.classes, bench.pictures()
    weights = Embedded(rows=_class_weights(bench), index=np.arange(len(classes)))
    labels = np.array([sample.label for sample in bench.test_set.samples])
    ks = [k for k in CLASSIFIED_AT if k <= len(classes)]
    numbers, outcomes = np.arange(len(classes)), dict[str, Outcome]()
    if bench.as_clip_benchmark:
        # 100 is their temperature; it can't change an order, but may round two products to one.
        scores = 100.0 * float32_scores(pictures, weights)
        hits = {k: search_as_clip_benchmark(scores, labels, numbers, k, among=max(ks)) for k in ks}
        first = first_as_clip_benchmark(scores, labels)
    else:
        found = search(pictures, weights, labels, numbers, ks)
        hits, first = found.at, found.at[1]
        outcomes["tied_share"] = _per_item(bench, found.tied)
    outcomes.update({f"acc{k}": _per_item(bench, of_k) for k, of_k in hits.items()})
    outcomes["mean_per_class_recall"] = macro_mean(bench.keys, first, [str(label) for label in labels])
    return outcomes


def _choice(bench: Bench) -> Mapping[str, Outcome]:
    """Choose between the true and the false text; a test item is one such choice."""
    entry = bench.test_set.entry
    tie = 1.0 if bench.as_clip_benchmark else {"wrong": 0.0, "half": 0.5}[entry.ties]
    points, tied = choice_points(bench.pictures(), bench.column(0), bench.column(1), tie)
    if bench.as_clip_benchmark:
        # Its harness also asks each text for the nearest of the one picture: always right.
        always = _per_item(bench, np.ones(len(points)))
        return {"acc": _per_item(bench, points), "text_acc": _per_item(bench, points), "image_acc": always}
    outcomes: dict[str, Outcome] = {"acc": _per_item(bench, points), "tied_share": _per_item(bench, tied)}
    if entry.average == "macro":
        outcomes["acc_micro"] = outcomes["acc"]
        groups = [sample.group or "" for sample in bench.test_set.samples]
        outcomes["acc"] = macro_mean(bench.keys, points, groups, entry.min_cases)
    return outcomes


def _matching(bench: Bench) -> Mapping[str, Outcome]:
    """Match two pictures with two texts: Winoground's three scores."""
    texts = bench.encoding.texts(bench.test_set.texts())
    found = match_pairs(bench.pictures(), texts, first_wins=bench.as_clip_benchmark)
    scores = {"text_acc": found.text, "image_acc": found.image, "acc": found.text * found.image}
    if not bench.as_clip_benchmark:
        scores["tied_share"] = found.tied.astype(np.float64)
    return {name: _per_item(bench, points) for name, points in scores.items()}


SCORERS: Mapping[Task, Callable[[Bench], Mapping[str, Outcome]]] = {
    "retrieval": _retrieval,
    "classification": _classification,
    "choice": _choice,
    "matching": _matching,
}


def _class_weights(bench: Bench) -> Float[np.ndarray, "class width"]:
    """Return each class as the renormalised mean of its prompts' features."""
    test_set = bench.test_set
    rows = [bench.encoding.texts(test_set.prompts(name)).each.mean(axis=0) for name in test_set.contents.classes]
    return normalise(np.stack(rows))


def _lengths(bench: Bench) -> Mapping[str, Outcome]:
    """Report truncation: the share of texts that the context cuts, and how long texts are."""
    if bench.test_set.entry.task == "classification" or bench.as_clip_benchmark:
        return {}
    counts = bench.model.encoder.token_counts(bench.test_set.texts())
    cut = counts > int(bench.model.encoder.tokenizer.context_length)
    owner = np.repeat(np.arange(len(bench.keys)), [len(sample.texts) for sample in bench.test_set.samples])
    return {
        "truncated_share": _gathered(bench, _doubles(cut), owner),
        "tokens": _gathered(bench, _doubles(counts), owner),
    }


def _doubles(values: torch.Tensor) -> Float[np.ndarray, " text"]:
    return values.double().numpy()


def _per_item(bench: Bench, points: np.ndarray) -> Ratio:
    values: Sequence[float] = points.astype(np.float64).tolist()
    return mean_of(dict(zip(bench.keys, values, strict=True)))


def _gathered(bench: Bench, points: Float[np.ndarray, " text"], owner: Int[np.ndarray, " text"]) -> Ratio:
    """Gather what texts scored at the items they belong to."""
    keys = bench.keys
    sums, counts = (np.bincount(owner, weights, len(keys)) for weights in (points, np.ones(len(points))))
    return ratio(dict(zip(keys, zip(sums.tolist(), counts.tolist(), strict=True), strict=True)))
