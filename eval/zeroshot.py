"""Zero-shot classification and the two-way choice test, on embeddings that were computed once."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from eval.retrieval import expected_hits

SWAP_TIE_POLICY = "ties=half a point"


def class_weights(
    encode: Callable[[Sequence[str]], Float[np.ndarray, "text width"]],
    classnames: Sequence[str],
    templates: Sequence[str],
) -> Float[np.ndarray, "class width"]:
    """Embed each class as the renormalised mean of its normalised prompts; `{c}` in a template is the class name."""
    prompts = [template.replace("{c}", name) for name in classnames for template in templates]
    embeddings = normalise(encode(prompts)).reshape(len(classnames), len(templates), -1)
    return normalise(embeddings.mean(axis=1))


def classification_hits(
    images: Float[np.ndarray, "image width"],
    weights: Float[np.ndarray, "class width"],
    labels: Int[np.ndarray, " image"],
    k: int = 1,
) -> Float[np.ndarray, " image"]:
    """Compute each image's chance of its class among the k best, ties in random order."""
    scores = images @ weights.T
    return expected_hits(scores, np.arange(len(weights))[None, :] == labels[:, None], k)


def swap_points(
    images: Float[np.ndarray, "pair width"],
    true_texts: Float[np.ndarray, "pair width"],
    false_texts: Float[np.ndarray, "pair width"],
) -> Float[np.ndarray, " pair"]:
    """Give a point where the image prefers its true text, half a point where it can't tell.

    A constant model scores 50 %. (The published scorers of such tests call ties either right or wrong.)
    """
    return np.heaviside((images * (true_texts - false_texts)).sum(axis=1), 0.5)


def normalise(vectors: Float[np.ndarray, "row width"]) -> Float[np.ndarray, "row width"]:
    """Scale each row to unit length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0.0, 1.0, lengths)
