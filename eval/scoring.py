"""Scores of test items from embeddings, in the two ways that published numbers are counted.

`official` is each benchmark's own way, made explicit where it says nothing; `clip_benchmark` is what CLIP_benchmark
1.6.2 prints: the first of torch's topk or argmax among equal scores, in float32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from eval.encoding import Embedded
from eval.retrieval import expected_hits, tied_with_negatives

Mode = Literal["official", "clip_benchmark"]
TIE_POLICIES = {
    ("official", "retrieval"): "expected under random order",
    ("official", "classification"): "expected under random order",
    ("official", "choice"): "wrong",
    ("official", "matching"): "wrong",
    ("clip_benchmark", "retrieval"): "the order of torch.topk",
    ("clip_benchmark", "classification"): "the order of torch.topk",
    ("clip_benchmark", "choice"): "right",
    ("clip_benchmark", "matching"): "the first of each pair",
}
"""What a tie is worth, by mode and task."""
_QUERIES_AT_ONCE = 512
"""Bounds memory at 512 x candidates x 8 bytes and a few copies."""


@dataclass(frozen=True)
class Hits:
    """How each query fared."""

    at: dict[int, Float[np.ndarray, " query"]]
    """By k: the chance that one of the query's positives is among its k best candidates."""
    tied: Bool[np.ndarray, " query"]
    """Where the best positive ties with a negative."""


def search(
    queries: Embedded,
    candidates: Embedded,
    owner_of_query: Int[np.ndarray, " query"],
    owner_of_candidate: Int[np.ndarray, " candidate"],
    ks: Sequence[int],
) -> Hits:
    """Rank candidates for each query; those of the same owner are its positives. Ties count as their expectation."""
    hits: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    tied = []
    for chosen in _blocks(len(queries.index)):
        scores = (queries.rows[queries.index[chosen]] @ candidates.rows.T)[:, candidates.index]
        positives = owner_of_candidate[None, :] == owner_of_query[chosen, None]
        tied.append(tied_with_negatives(scores, positives))
        for k in ks:
            hits[k].append(expected_hits(scores, positives, k))
    return Hits({k: np.concatenate(parts) for k, parts in hits.items()}, np.concatenate(tied))


def search_as_clip_benchmark(
    scores: Float[torch.Tensor, "query candidate"],
    owner_of_query: Int[np.ndarray, " query"],
    owner_of_candidate: Int[np.ndarray, " candidate"],
    k: int,
    among: int | None = None,
) -> Float[np.ndarray, " query"]:
    """Tell of which queries a positive is among the first k that torch's topk gives, asked for `among` (k) of them."""
    owners = torch.from_numpy(owner_of_candidate)
    parts = [
        (
            owners[torch.topk(scores[rows], among or k, dim=1)[1][:, :k]]
            == torch.from_numpy(owner_of_query[rows])[:, None]
        ).any(dim=1)
        for rows in _blocks(len(owner_of_query))
    ]
    return torch.cat(parts).double().numpy()


def first_as_clip_benchmark(
    scores: Float[torch.Tensor, "image class"], labels: Int[np.ndarray, " image"]
) -> Float[np.ndarray, " image"]:
    """Tell of which images torch's argmax gives the class: CLIP_benchmark's recall by class counts so, its acc1 not."""
    return (scores.argmax(dim=1) == torch.from_numpy(labels)).double().numpy()


def float32_scores(queries: Embedded, candidates: Embedded) -> Float[torch.Tensor, "query candidate"]:
    """Return all products in float32, as CLIP_benchmark computes them on a CPU."""
    left, right = (torch.from_numpy(side.each.astype(np.float32)) for side in (queries, candidates))
    return left @ right.t()


def choice_points(
    pictures: Embedded, true_texts: Embedded, false_texts: Embedded, tie: float
) -> tuple[Float[np.ndarray, " pair"], Bool[np.ndarray, " pair"]]:
    """Give a point where the picture prefers its true text, `tie` where it can't tell; and tell where it can't."""
    true, false = ((pictures.each * texts.each).sum(axis=1) for texts in (true_texts, false_texts))
    return np.where(true == false, tie, (true > false).astype(np.float64)), true == false


@dataclass(frozen=True)
class Matched:
    """How each example of two pictures and two texts fared."""

    text: Float[np.ndarray, " example"]
    """Both pictures prefer their own text."""
    image: Float[np.ndarray, " example"]
    """Both texts prefer their own picture."""
    tied: Bool[np.ndarray, " example"]
    """Where one of the four comparisons is a tie."""


def match_pairs(pictures: Embedded, texts: Embedded, *, first_wins: bool) -> Matched:
    """Compare pictures 2i and 2i + 1 with texts 2i and 2i + 1.

    A tie is no preference; with `first_wins`, as in CLIP_benchmark's argmax, it is one for the first of the two.
    """
    image, text = (side.each.reshape(-1, 2, side.rows.shape[1]) for side in (pictures, texts))
    score = (image[:, :, None, :] * text[:, None, :, :]).sum(axis=-1)
    own0, own1, crossed01, crossed10 = score[:, 0, 0], score[:, 1, 1], score[:, 0, 1], score[:, 1, 0]
    tied = (own0 == crossed01) | (own1 == crossed10) | (own0 == crossed10) | (own1 == crossed01)
    prefers = np.greater_equal if first_wins else np.greater
    by_text = prefers(own0, crossed01) & (own1 > crossed10)
    by_image = prefers(own0, crossed10) & (own1 > crossed01)
    return Matched(by_text.astype(np.float64), by_image.astype(np.float64), tied)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _QUERIES_AT_ONCE):
        yield slice(start, start + _QUERIES_AT_ONCE)
