"""Rows asked again by a model of ours, with more tokens or drawn: the same bytes every time, no other row changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagetext.sidecars import read_sidecar_table
from recaption.config import RecaptionConfig
from recaption.engine_config import EngineConfig
from recaption.quality.config import RepairConfig
from recaption.verbs import run

FEW, MORE = 4, 9
"""A model with random weights hardly ever ends by itself."""


def captioned(config: RecaptionConfig, folder: Path, **fields: Any) -> tuple[list[dict[str, Any]], bytes]:
    run(replace(config, output_dir=folder, **fields))
    rows: list[dict[str, Any]] = read_sidecar_table(folder, "00000").to_pylist()
    return [row for row in rows if row["status"] == "success"], (folder / "00000.parquet").read_bytes()


@pytest.fixture
def config(model: Path, shards: Path, tmp_path: Path) -> RecaptionConfig:
    return RecaptionConfig(
        output_dir=tmp_path,
        model=model,
        shards=str(shards),
        device="cpu",
        batch_size=2,
        max_new_tokens=FEW,
        precision="fp32",
        engine=EngineConfig(supervised=False),
        repair=RepairConfig(steps=["more_tokens", "sampled"], max_new_tokens=MORE, flags=["cut_off"]),
    )


def test_cut_off_rows_get_more_tokens_and_begin_as_before(config: RecaptionConfig, tmp_path: Path) -> None:
    before, _ = captioned(config, tmp_path / "before", repair=RepairConfig(steps=[]))
    after, data = captioned(config, tmp_path / "after")
    assert any(row["finish_reason"] == "length" for row in before)
    for old, new in zip(before, after, strict=True):
        if old["finish_reason"] == "stop":
            assert new == {**old, "captioner_id": new["captioner_id"]}
            continue
        assert new["repairs"][0].startswith("first: cut_off") and new["repairs"][1].startswith("more_tokens: ")
        assert new["attempts"] == len(new["repairs"])
    again, same_data = captioned(config, tmp_path / "again", workers=2)
    assert again == after and same_data == data


def test_rows_that_come_as_they_are_done_are_asked_again_too(config: RecaptionConfig, tmp_path: Path) -> None:
    in_places, _ = captioned(config, tmp_path / "in_places")
    streamed, _ = captioned(config, tmp_path / "streamed", deterministic=False)
    assert [row["repairs"] for row in streamed] == [row["repairs"] for row in in_places]
