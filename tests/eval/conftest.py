"""A tiny web, built once, with recaptions straight from its truth."""

from pathlib import Path

import pytest

from eval.truth import read_true_samples
from imagetext.sidecars import write_sidecar
from miniweb import grammar
from miniweb.build import build
from runtime import seeds
from tests.miniweb.tiny import tiny_config

SPLITS = ("web", "web_heldout", "captioner_heldout", "prompts/images")


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built data set of a few samples a part."""
    config = tiny_config(tmp_path_factory.mktemp("eval") / "data")
    build(config)
    return config.output_dir


@pytest.fixture(scope="session")
def perfect_recaptions(web: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sidecars of a captioner that makes no mistake, by split."""
    root = tmp_path_factory.mktemp("recaption")
    for split in SPLITS:
        by_shard: dict[str, list[dict[str, object]]] = {}
        for sample in read_true_samples(web / split):
            caption = grammar.describe(sample.scene, seeds.numpy_generator("test", sample.key))
            row = {"key": sample.key, "re_caption": caption, "org_caption": sample.original}
            by_shard.setdefault(sample.shard, []).append(row)
        for shard, rows in by_shard.items():
            write_sidecar(root / split.split("/")[0], shard, rows)
    return {split.split("/")[0]: root / split.split("/")[0] for split in SPLITS}
