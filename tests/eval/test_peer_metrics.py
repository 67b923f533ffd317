"""Scores beside those of open_clip's trainer and clip_benchmark, on features with and without ties."""

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import image_caption_selection, zeroshot_retrieval
from open_clip_train.train import get_clip_metrics
from torch import Tensor

from eval.retrieval import expected_hits, tied_with_negatives
from eval.zeroshot import normalise, swap_points

WIDTH = 6


class Lookup:
    """A model whose pictures are rows of features, spread over pixels, and whose token ids are row numbers."""

    def __init__(self, texts: np.ndarray):
        self._texts = torch.tensor(texts)

    def encode_image(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def encode_text(self, ids: Tensor) -> Tensor:
        return self._texts[ids]


def tokenize(texts: list[str]) -> Tensor:
    return torch.tensor([int(text) for text in texts])


def as_pictures(rows: np.ndarray) -> Tensor:
    return torch.tensor(rows).reshape(len(rows), 1, 1, WIDTH)


def noisy(seed: int, num_images: int, per_image: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = normalise(generator.normal(size=(num_images, WIDTH)))
    texts = np.repeat(images, per_image, axis=0)
    return images, normalise(texts + 0.7 * generator.normal(size=texts.shape))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_retrieval_of_one_caption_an_image_equals_open_clips(k: int) -> None:
    images, texts = noisy(k, 30, 1)
    theirs = get_clip_metrics(torch.tensor(images), torch.tensor(texts), torch.tensor(9.0, dtype=torch.float64))
    scores, positives = images @ texts.T, np.eye(30, dtype=bool)
    assert expected_hits(scores, positives, k).mean() == pytest.approx(theirs[f"image_to_text_R@{k}"], abs=0)
    assert expected_hits(scores.T, positives, k).mean() == pytest.approx(theirs[f"text_to_image_R@{k}"], abs=0)
    assert 0 < theirs[f"image_to_text_R@{k}"] < 1


@pytest.mark.parametrize("k", [1, 5])
def test_retrieval_of_five_captions_an_image_equals_clip_benchmarks_whole_evaluation(k: int) -> None:
    images, texts = noisy(k, 20, 5)
    batches = [
        (as_pictures(images[start : start + 8]), [[str(5 * row + one) for one in range(5)] for row in rows])
        for start in (0, 8, 16)
        for rows in [range(start, min(start + 8, 20))]
    ]
    theirs = zeroshot_retrieval.evaluate(Lookup(texts), batches, tokenize, "cpu", amp=False, recall_k_list=[k])
    positives = np.arange(100)[:, None] // 5 == np.arange(20)[None, :]
    scores = texts @ images.T
    assert not tied_with_negatives(scores, positives).any()
    ours = {
        f"image_retrieval_recall@{k}": expected_hits(scores, positives, k).mean(),
        f"text_retrieval_recall@{k}": expected_hits(scores.T, positives.T, k).mean(),
    }
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert 0 < ours[f"image_retrieval_recall@{k}"] < 1


def sugarcrepe(images: np.ndarray, true_texts: np.ndarray, false_texts: np.ndarray) -> float:
    """Score as SugarCrepe's own code does (Hsieh et al. 2023): the true text's score must be the higher one."""
    return float(np.mean([i @ t > i @ f for i, t, f in zip(images, true_texts, false_texts, strict=True)]))


def aro(images: np.ndarray, true_texts: np.ndarray, false_texts: np.ndarray) -> float:
    """Score as ARO's own code does (Yuksekgonul et al. 2023): of [false, true] the second must be the first largest."""
    pairs = zip(images, false_texts, true_texts, strict=True)
    return float(np.mean([np.argmax([i @ f, i @ t]) == 1 for i, f, t in pairs]))


def of_clip_benchmark(images: np.ndarray, true_texts: np.ndarray, false_texts: np.ndarray) -> float:
    """Score as clip_benchmark does: of [true, false] the first must be the first largest."""
    count = len(images)
    batch = as_pictures(images), [[str(row), str(count + row)] for row in range(count)]
    model = Lookup(np.concatenate([true_texts, false_texts]))
    return float(image_caption_selection.evaluate(model, [batch], tokenize, "cpu", amp=False)["text_acc"])


def test_choosing_between_two_texts_equals_the_published_scorers_without_ties() -> None:
    images, true_texts = noisy(3, 60, 1)
    false_texts = normalise(true_texts + np.random.default_rng(4).normal(size=true_texts.shape))
    ours = swap_points(images, true_texts, false_texts).mean()
    assert 0.5 < ours < 1
    for scorer in (sugarcrepe, aro, of_clip_benchmark):
        assert scorer(images, true_texts, false_texts) == pytest.approx(ours, abs=1e-6)


def test_a_constant_model_is_wrong_by_two_right_by_one_and_guesses_by_ours() -> None:
    ones = np.ones((8, WIDTH))
    found = {scorer.__name__: scorer(ones, ones, ones) for scorer in (sugarcrepe, aro, of_clip_benchmark)}
    assert found == {"sugarcrepe": 0.0, "aro": 0.0, "of_clip_benchmark": 1.0}
    assert swap_points(ones, ones, ones).mean() == 0.5
