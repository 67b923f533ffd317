"""A shard of 1,000 images of which 50 are hostile: 1,000 rows, the right status on each, the healthy ones untouched."""

from pathlib import Path
from typing import Any

import pytest

from imagetext.caption_flags.names import SAME_AS_MANY
from recaption import verbs
from recaption.config import RecaptionConfig, VerifyConfig
from recaption.engine_config import EngineConfig
from recaption.inputs.shard_units import list_shard_units
from recaption.quality.config import CanaryConfig
from tests.recaption.engine.hostile import NUM_ROWS, write_healthy, write_hostile
from tests.recaption.engine.scripted import Script, caption, settings, table


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """A folder with `hostile` and `healthy`, and the statuses expected of hostile rows."""
    folder = tmp_path_factory.mktemp("hostile")
    expected = write_hostile(folder / "hostile")
    write_healthy(folder / "healthy")
    return folder, expected


def check(rows: list[dict[str, Any]], healthy: list[dict[str, Any]], expected: dict[int, str]) -> None:
    assert len(rows) == len(healthy) == NUM_ROWS
    assert len({row["key"] for row in rows}) == NUM_ROWS
    found = {place: row["status"] for place, row in enumerate(rows) if place in expected}
    assert found == expected
    for place, row in enumerate(rows):
        assert row["attempts"] == (1 if row["status"] == "success" else 0), "no picture was asked about again"
        assert row["status"] == "success" or row["error_message"]
        if place not in expected:
            assert _alone(row) == _alone(healthy[place])


def _alone(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what is said of it for the sake of the rest of its unit."""
    return {**row, "flags": [flag for flag in row["flags"] if flag != SAME_AS_MANY]}


def test_a_shard_with_50_hostile_rows_gives_1000_rows(shards: tuple[Path, dict[int, str]], tmp_path: Path) -> None:
    folder, expected = shards
    for kind in ("hostile", "healthy"):
        caption(settings(tmp_path / kind), list_shard_units(str(folder / kind)), Script(batch_size=64))
    rows = table(tmp_path / "hostile")
    check(rows, table(tmp_path / "healthy"), expected)
    assert "\ufffd" in rows[13 + 24 * 18]["org_caption"], "a caption that is no UTF-8 is kept as far as it can be read"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_embedded_captioner_says_the_same_of_healthy_rows_beside_hostile_ones(
    shards: tuple[Path, dict[int, str]], talkative: Path, tmp_path: Path
) -> None:
    folder, expected = shards
    for kind in ("hostile", "healthy"):
        config = RecaptionConfig(
            output_dir=tmp_path / kind,
            model=talkative,
            shards=str(folder / kind),
            max_new_tokens=16,
            device="cpu",
            engine=EngineConfig(supervised=False),
            canary=CanaryConfig(pictures=0),
        )
        verbs.run(config)
        verbs.verify(VerifyConfig(output_dir=tmp_path / kind))
    rows, healthy = table(tmp_path / "hostile"), table(tmp_path / "healthy")
    check(rows, healthy, expected)
    assert len({row["re_caption"] for row in healthy}) > 500 and len({row["num_tokens"] for row in healthy}) > 5
