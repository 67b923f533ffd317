"""The `clip` suite: retrieval, zero-shot classification and attribute swap of a contrastive model."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from eval.benchmarks import Item, read_benchmark, read_lines
from eval.config import EvalConfig
from eval.embeddings import Embeddings
from eval.outcomes import Ratio, mean_of, ratio
from eval.retrieval import TIE_POLICY, expected_hits, tied_with_negatives
from eval.rows import Manifest
from eval.suite import Measurement, measure
from eval.zeroshot import SWAP_TIE_POLICY, class_weights, classification_hits, normalise, swap_points
from miniweb.catalogue import SPECIES_BY_NAME

RECALL_AT = (1, 5, 10)
RETRIEVAL_SETS = ("retrieval_short_a", "retrieval_short_b", "retrieval_long")
CLASSIFICATION_SETS = ("species", "kinds")
PROMPT_STYLES = {
    "short": "zeroshot_classification_templates.txt",
    "recaption": "zeroshot_classification_templates_recaption.txt",
}


def measure_clip(config: EvalConfig, embeddings: Embeddings) -> Iterator[Measurement]:
    """Yield every number of the suite, one benchmark after the other."""
    folder = config.miniweb / "benchmarks"
    for name in RETRIEVAL_SETS:
        items = _read(config, folder / name)
        yield from _measured(config, items, TIE_POLICY, retrieval(name, items, embeddings))
    for name in CLASSIFICATION_SETS:
        items = _read(config, folder / name)
        yield from _measured(config, items, TIE_POLICY, classification(name, folder / name, items, embeddings))
    items = _read(config, folder / "swap")
    yield from _measured(config, items, SWAP_TIE_POLICY, swap(items, embeddings))


def retrieval(name: str, items: Sequence[Item], embeddings: Embeddings) -> Iterator[tuple[str, Ratio, str]]:
    """Measure recall in both directions; a test item is an image with all its captions."""
    images = embeddings.images([item.image for item in items])
    texts = embeddings.texts([text for item in items for text in item.texts])
    owner = np.repeat(np.arange(len(items)), [len(item.texts) for item in items])
    scores = images @ texts.T
    positives = owner[None, :] == np.arange(len(items))[:, None]
    protocol = f"{len(items)} images, {len(texts)} captions; {TIE_POLICY}"
    tied = tied_with_negatives(scores.T, positives.T).astype(float)
    yield f"{name}/tied_share", _by_owner(items, tied, owner), f"{protocol}; share of captions"
    cut = embeddings.truncated([text for item in items for text in item.texts])
    yield f"{name}/truncated_share", _by_owner(items, cut.astype(float), owner), f"{protocol}; share of captions cut"
    for k in RECALL_AT:
        by_image = expected_hits(scores, positives, k)
        by_text = expected_hits(scores.T, positives.T, k)
        to_text = {item.key: hit for item, hit in zip(items, by_image.tolist(), strict=True)}
        yield f"{name}/text_retrieval_recall@{k}", mean_of(to_text), protocol
        yield f"{name}/image_retrieval_recall@{k}", _by_owner(items, by_text, owner), protocol


def classification(
    name: str, folder: Path, items: Sequence[Item], embeddings: Embeddings
) -> Iterator[tuple[str, Ratio, str]]:
    """Measure top-1 and top-5 accuracy with each style of class prompts, and top-1 on each part of the classes."""
    classes = read_lines(folder, "classnames.txt")
    images = embeddings.images([item.image for item in items])
    labels = np.array([item.label for item in items])
    for style, file_name in PROMPT_STYLES.items():
        templates = read_lines(folder, file_name)
        weights = class_weights(embeddings.texts, classes, templates)
        protocol = f"{len(classes)} classes, {len(templates)} {style} prompts each; {TIE_POLICY}"
        for k in (1, 5):
            hits = classification_hits(images, weights, labels, k)
            yield f"{name}/{style}_acc{k}", _among(items, hits, np.ones(len(items))), protocol
        hits = classification_hits(images, weights, labels, 1)
        for part, inside in _parts(classes).items():
            chosen = inside[labels].astype(float)
            yield f"{name}/{style}_acc1_{part}", _among(items, hits, chosen), f"{protocol}; images of {part} classes"


def swap(items: Sequence[Item], embeddings: Embeddings) -> Iterator[tuple[str, Ratio, str]]:
    """Measure the choice between a true and a false text; a test item is a pair of texts with all its images.

    The blind row shows each pair of texts the mean of all images: what the words alone give away.
    """
    images = embeddings.images([item.image for item in items])
    true_texts = embeddings.texts([item.texts[0] for item in items])
    false_texts = embeddings.texts([item.texts[1] for item in items])
    protocol = f"{len(items)} images, one true and one false text each; {SWAP_TIE_POLICY}"
    yield "swap/acc", _by_pair(items, swap_points(images, true_texts, false_texts)), protocol
    mean_image = np.broadcast_to(normalise(images.mean(axis=0, keepdims=True)), images.shape)
    blind = swap_points(mean_image, true_texts, false_texts)
    yield "swap/acc_blind", _by_pair(items, blind), f"{protocol}; every image replaced by the mean image"


def _measured(
    config: EvalConfig, items: Sequence[Item], tie_policy: str, found: Iterator[tuple[str, Ratio, str]]
) -> Iterator[Measurement]:
    """Give each number its interval and its protocol's facts."""
    facts: Manifest = {
        "split": "test",
        "num_images": len(items),
        "num_texts": sum(len(item.texts) for item in items),
        "annotation_sha256": _annotation_sha256(items),
        "text_preprocessing": "as_is",
        "tie_policy": tie_policy.removeprefix("ties="),
    }
    for metric, outcome, protocol in found:
        yield measure(metric, outcome, protocol, config.bootstrap_replicates, facts)


def _annotation_sha256(items: Sequence[Item]) -> str:
    lines = (json.dumps([item.key, item.texts, item.label]) for item in items)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(config: EvalConfig, folder: Path) -> list[Item]:
    return read_benchmark(folder, config.clip.max_samples)


def _by_owner(items: Sequence[Item], by_text: Float[np.ndarray, " text"], owner: Int[np.ndarray, " text"]) -> Ratio:
    """Gather what texts scored at the images they belong to."""
    sums = np.bincount(owner, weights=by_text, minlength=len(items)).tolist()
    return ratio({item.key: (score, float(len(item.texts))) for item, score in zip(items, sums, strict=True)})


def _among(items: Sequence[Item], hits: Float[np.ndarray, " item"], chosen: Float[np.ndarray, " item"]) -> Ratio:
    points = zip(items, (hits * chosen).tolist(), chosen.tolist(), strict=True)
    return ratio({item.key: (hit, weight) for item, hit, weight in points})


def _parts(classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Split species classes into those the captioner knows and those that live in alt-text alone."""
    if not set(classes) <= set(SPECIES_BY_NAME):
        return {}
    known = np.array([SPECIES_BY_NAME[name].known_to_captioner for name in classes])
    return {"known": known, "unknown": ~known}


def _by_pair(items: Sequence[Item], points: Float[np.ndarray, " item"]) -> Ratio:
    pairs: dict[str, tuple[float, float]] = {}
    for item, point in zip(items, points.tolist(), strict=True):
        name = " | ".join(sorted(item.texts))
        score, weight = pairs.get(name, (0.0, 0.0))
        pairs[name] = (score + point, weight + 1.0)
    return ratio(pairs)
