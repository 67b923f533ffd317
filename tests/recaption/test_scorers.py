"""Scorers in the statistics and in the bake-off: the cosines of the CLIP that is given, on pictures drawn."""

from pathlib import Path

import pytest

from clip_train.model import load_encoder
from imagetext.decode import decode
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import write_sidecar
from recaption.comparison.contestants import Bout
from recaption.comparison.scoring import score
from recaption.input_config import MovedInput
from recaption.job.reopening import input_of
from recaption.sampling import sample_captioned
from recaption.statistics.config import StatisticsConfig
from recaption.statistics.measuring import measure
from runtime.errors import UserError
from tests.clip_train.test_export import exported
from tests.recaption.conftest import jpeg
from tests.recaption.test_compare import contestant

CAPTIONS = [("a red house", "A red house on a hill."), ("x", "Two boats."), ("DSC 12", "A tree and a dog.")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("s_small", tmp_path_factory.mktemp("clip"))[1]


@pytest.fixture
def moved(tmp_path: Path) -> MovedInput:
    rows = [ShardRow(key=make_key(0, i), image=jpeg(i), caption=old) for i, (old, _) in enumerate(CAPTIONS)]
    write_shard(tmp_path / "shards", 0, rows)
    sidecar = [{"key": make_key(0, i), "org_caption": old, "re_caption": new} for i, (old, new) in enumerate(CAPTIONS)]
    write_sidecar(tmp_path / "side", "00000", sidecar)
    return MovedInput(shards=str(tmp_path / "shards"))


def test_cosines_are_those_of_the_clip(clip: Path, moved: MovedInput, tmp_path: Path) -> None:
    config = StatisticsConfig(recaptions=tmp_path / "side", scorers={"tiny": clip}, input=moved, device="cpu")
    found = measure(config).scores["tiny"]
    encoder = load_encoder(clip)
    pictures = encoder.encode_images([decode(jpeg(i)) for i in range(3)])
    for place, cosine in ((0, found.old_cosine), (1, found.new_cosine)):
        texts = encoder.encode_texts([pair[place] for pair in CAPTIONS])
        assert cosine.value == pytest.approx(float((pictures * texts).sum(dim=1).mean()), abs=1e-6)
    assert found.num_pairs == 3 and found.scale == pytest.approx(encoder.logit_scale)
    assert found.old_truncated_share is not None
    units = input_of(tmp_path / "side", moved)
    rows = list(sample_captioned(tmp_path / "side", units, 3, 0, columns=["re_caption"]))
    said = contestant(*(new for _, new in CAPTIONS))
    renamed = {row.name: said.said[f"00000/{int(row.row.key)}"] for row in rows}
    bout = Bout(rows=rows, contestants=[type(said)(**{**vars(said), "said": renamed})])
    assert score(bout, {"tiny": clip}, "cpu")["tiny"]["x"].value == pytest.approx(found.new_cosine.value)


def test_pictures_that_are_not_there(clip: Path, moved: MovedInput, tmp_path: Path) -> None:
    config = StatisticsConfig(recaptions=tmp_path / "side", scorers={"tiny": clip}, device="cpu")
    with pytest.raises(UserError, match=r"no config.yaml says what was captioned.*--input.shards"):
        measure(config)
