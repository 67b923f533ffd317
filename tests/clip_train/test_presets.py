from pathlib import Path

import pytest

from clip_train.config import ClipTrainConfig
from runtime.config import load, to_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "clip").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_preset_loads_and_round_trips(path: Path, tmp_path: Path) -> None:
    flags = ["--output_dir", "runs/x", "--data.shards", "web"]
    config = load(ClipTrainConfig, path, overrides=flags)
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load(ClipTrainConfig, tmp_path / "again.yaml") == config
    assert path.read_text().startswith(f"# python -m clip_train --config configs/clip/{path.name} ")


def test_there_is_a_preset_for_each_scale() -> None:
    miniature, published = {"quick", "mini", "mini_full"}, {"small", "paper"}
    assert {path.stem for path in CONFIGS} == miniature | published | {f"foundation_{scale}" for scale in miniature}
