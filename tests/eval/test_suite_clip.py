"""The clip suite on a tiny web: a constant model guesses, a perfect one knows, a mean image is blind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clip_train.model import load_encoder
from eval.benchmarking import benchmark
from eval.benchmarks import read_benchmark
from eval.config import BenchmarkConfig, EvalConfig
from eval.embeddings import Embeddings
from eval.rows import read_rows
from eval.suites.clip import measure_clip, retrieval, swap
from runtime.errors import UserError
from tests.clip_train.test_export import exported
from tests.eval.their_command import clip_benchmark


class Constant:
    """Everything looks alike."""

    def encode_images(self, images, batch_size: int = 8) -> torch.Tensor:
        return torch.ones(len(images), 4) / 2

    def encode_texts(self, texts, batch_size: int = 8) -> torch.Tensor:
        return torch.ones(len(texts), 4) / 2

    def truncated(self, texts) -> torch.Tensor:
        return torch.zeros(len(texts), dtype=torch.bool)


class Counting(Constant):
    """Count what is encoded."""

    def __init__(self) -> None:
        self.images = self.texts = 0

    def encode_images(self, images, batch_size: int = 8) -> torch.Tensor:
        self.images += len(images)
        return super().encode_images(images)

    def encode_texts(self, texts, batch_size: int = 8) -> torch.Tensor:
        self.texts += len(texts)
        return super().encode_texts(texts)


class Known(Embeddings):
    """Embeddings that pair each image with its texts exactly."""

    def __init__(self, items) -> None:
        self.items = items
        self.codes = np.eye(len(items))

    def images(self, encoded) -> np.ndarray:
        order = {item.image: index for index, item in enumerate(self.items)}
        return self.codes[[order[data] for data in encoded]]

    def texts(self, texts) -> np.ndarray:
        order = {item.texts[0]: index for index, item in enumerate(self.items)}
        order.update({text: index for index, item in enumerate(self.items) for text in item.texts})
        return self.codes[[order[text] for text in texts]]

    def truncated(self, texts) -> np.ndarray:
        return np.zeros(len(texts), dtype=bool)


def test_a_constant_model_scores_what_guessing_scores(web: Path) -> None:
    config = EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=20)
    values = {m.metric: m.interval.value for m in measure_clip(config, Embeddings(Constant(), 8))}
    num_images = len(read_benchmark(web / "benchmarks" / "retrieval_short_a"))
    assert values["retrieval_short_a/image_retrieval_recall@1"] == pytest.approx(1 / num_images)
    assert values["retrieval_short_a/text_retrieval_recall@1"] == pytest.approx(1 / num_images)
    assert values["retrieval_short_a/tied_share"] == 1.0
    assert values["species/short_acc1"] == pytest.approx(1 / 79)
    assert values["species/recaption_acc1_unknown"] == pytest.approx(1 / 79)
    assert values["kinds/short_acc5"] == pytest.approx(5 / 24)
    assert values["swap/acc"] == values["swap/acc_blind"] == 0.5


def test_every_number_says_what_it_was_measured_on(web: Path) -> None:
    config = EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=5)
    facts = {m.metric: m.manifest for m in measure_clip(config, Embeddings(Constant(), 8))}
    short, swapped = facts["retrieval_short_a/tied_share"], facts["swap/acc"]
    assert short["num_texts"] == 5 * int(short["num_images"] or 0) and short["split"] == "test"
    assert (short["tie_policy"], swapped["tie_policy"]) == ("expected under random order", "half a point")
    assert len({each["annotation_sha256"] for each in facts.values()}) == 6


def test_a_perfect_model_retrieves_everything(web: Path) -> None:
    items = read_benchmark(web / "benchmarks" / "retrieval_long")
    outcomes = {metric: outcome.value for metric, outcome, _ in retrieval("retrieval_long", items, Known(items))}
    assert outcomes["retrieval_long/text_retrieval_recall@1"] == 1.0
    assert outcomes["retrieval_long/image_retrieval_recall@1"] == 1.0
    assert outcomes["retrieval_long/tied_share"] == 0.0


class Words(Constant):
    """Random texts: words alone can't tell true from false."""

    def encode_texts(self, texts, batch_size: int = 8) -> torch.Tensor:
        rows = [torch.randn(4, generator=torch.Generator().manual_seed(hash(text) % (1 << 30))) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def test_the_blind_row_of_mirrored_pairs_is_one_half_whatever_the_words(web: Path) -> None:
    items = read_benchmark(web / "benchmarks" / "swap")
    outcomes = {metric: outcome for metric, outcome, _ in swap(items, Embeddings(Words(), 8))}
    assert outcomes["swap/acc_blind"].value == 0.5
    assert outcomes["swap/acc"].count == len(items) // 2


def test_each_image_and_text_is_embedded_once(web: Path) -> None:
    encoder = Counting()
    config = EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=5)
    embeddings = Embeddings(encoder, 8)
    list(measure_clip(config, embeddings))
    first = (encoder.images, encoder.texts)
    list(measure_clip(config, embeddings))
    assert (encoder.images, encoder.texts) == first


def test_missing_and_damaged_benchmarks_are_named(web: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: no such benchmark"):
        read_benchmark(tmp_path / "nothing")
    split = tmp_path / "bad" / "test"
    split.mkdir(parents=True)
    (split / "nshards.txt").write_text("1\n")
    with pytest.raises(UserError, match="missing benchmark shard"):
        read_benchmark(tmp_path / "bad")
    (split / "0.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="damaged benchmark shard"):
        read_benchmark(tmp_path / "bad")


@pytest.mark.parametrize(
    ("name", "task", "counterparts"),
    [
        ("retrieval_short_a", "zeroshot_retrieval", {}),
        ("kinds", "zeroshot_classification", {"acc1": "short_acc1", "acc5": "short_acc5"}),
    ],
)
def test_clip_benchmarks_command_on_our_export_gives_our_numbers(
    web: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    task: str,
    counterparts: dict[str, str],
) -> None:
    """On the miniature's own sets: the suite of the runs and the command for any model give what they give."""
    _, export = exported("s_small", tmp_path)
    folder = web / "benchmarks" / name
    theirs = clip_benchmark(monkeypatch, export, f"wds/{name}", folder, task, tmp_path / "result.json")
    config = EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=5)
    mini = {m.metric: m.interval.value for m in measure_clip(config, Embeddings(load_encoder(export), 16))}
    datasets = {f"miniweb/{name}": web / "benchmarks"}
    quick = {"bootstrap_replicates": 5, "modes": ("official", "clip_benchmark"), "device": "cpu"}
    benchmark(BenchmarkConfig(model=str(export), datasets=datasets, output_dir=tmp_path / "out", **quick))
    ours = {(row.suite, row.metric): row.value for row in read_rows(tmp_path / "out" / "rows.jsonl")}
    for metric, value in theirs.items():
        assert ours["clip_benchmark", f"miniweb_{name}/{metric}"] == pytest.approx(value, abs=5e-5), metric
        official = ours["clip", f"miniweb_{name}/{metric}"]
        assert official == pytest.approx(value, abs=5e-5), f"{metric}: no ties here"
        if metric != "mean_per_class_recall":
            assert mini[f"{name}/{counterparts.get(metric, metric)}"] == pytest.approx(official, abs=1e-9), metric
