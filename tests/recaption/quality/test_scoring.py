"""Scores written while captioning are those that the same CLIP gives the finished rows, and the same every time."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.model import load_encoder
from imagetext.decode import decode
from recaption.config import RecaptionConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from recaption.job.manifest import describe_job
from recaption.quality.clip_pixels import ClipPixels
from recaption.quality.clip_scorer import ClipScorer
from recaption.quality.config import ClipScoreConfig
from recaption.quality.drift import DriftMonitor
from runtime.errors import UserError
from tests.clip_train.test_export import exported
from tests.recaption.conftest import jpeg
from tests.recaption.engine.scripted import ListUnit, Script, begin, opening, settings, table

OLD = ("a red house", None, "", "two boats on a very long lake with many trees and a hill behind it all around", "x")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("s_small", tmp_path_factory.mktemp("clip"))[1]


def unit(num_rows: int = 11) -> ListUnit:
    images = [jpeg(index, (20 + 7 * index, 30)) for index in range(num_rows)]
    images[4] = images[4][:60]
    return ListUnit(
        name="00000",
        content=tuple(
            InputRow(key=f"k{index}", image=data, caption=OLD[index % len(OLD)]) for index, data in enumerate(images)
        ),
    )


def config_of(folder: Path, clip: Path, **engine: Any) -> RecaptionConfig:
    scored = ClipScoreConfig(model=clip, batch_size=4)
    return begin(dataclasses.replace(settings(folder, **engine), clip_score=scored))


def scored(folder: Path, clip: Path, script: Script, **engine: Any) -> list[dict[str, Any]]:
    list(caption_units(config_of(folder, clip, **engine), [unit()], open_captioner=opening(script)))
    return table(folder)


def test_scores_are_those_of_the_finished_rows(clip: Path, tmp_path: Path) -> None:
    rows = scored(tmp_path, clip, Script())
    encoder = load_encoder(clip)
    for row, asked in zip(rows, unit().content, strict=True):
        if row["status"] != "success":
            assert row["key"] == "k4" and row["re_clip_score"] is None and row["org_clip_score"] is None
            continue
        assert asked.image is not None
        picture = encoder.encode_images([decode(asked.image)])[0]
        for column, text in (("re_clip_score", row["re_caption"]), ("org_clip_score", row["org_caption"])):
            if not text:
                assert row[column] is None
            else:
                wanted = float(picture @ encoder.encode_texts([text])[0])
                # Batches of four here, one there, in float32; scores keep six decimals.
                assert row[column] == pytest.approx(wanted, abs=2e-6)


def test_scores_are_the_same_bytes_with_a_lost_captioner_and_decode_processes(clip: Path, tmp_path: Path) -> None:
    scored(tmp_path / "one", clip, Script())
    lost = tuple(name for name in (row["re_caption"].split()[0] for row in table(tmp_path / "one")[:1]))
    again = scored(tmp_path / "two", clip, Script(lose_once=lost), decode_processes=1)
    first = table(tmp_path / "one")
    for old, new in zip(first, again, strict=True):
        assert {**old, "attempts": 0} == {**new, "attempts": 0}


def test_scores_come_with_the_units_rates_and_the_jobs_manifest(clip: Path, tmp_path: Path) -> None:
    rows = scored(tmp_path, clip, Script())
    mark = json.loads((tmp_path / "00000_stats.json").read_text())
    scores = [row["re_clip_score"] for row in rows if row["re_clip_score"] is not None]
    assert mark["rates"]["mean_new_score"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert mark["stage_seconds"]["scoring"] > 0
    assert DriftMonitor(config_of(tmp_path, clip)).check("00000", rows, _rates(rows)) == []
    shaped = describe_job(config_of(tmp_path, clip), "scripted", 1).shaped_by
    assert len(shaped["clip_scorer"]) == 16 and "clip_score.model" not in shaped
    assert "clip_scorer" not in describe_job(settings(tmp_path), "scripted", 1).shaped_by


def _rates(rows: list[dict[str, Any]]) -> Any:
    from recaption.quality.rates import measure_rows

    return measure_rows(rows)


@pytest.mark.parametrize("size", [(64, 64), (141, 90), (90, 141), (33, 300), (10, 7)])
@pytest.mark.parametrize(("mode", "interpolation"), [("shortest", "bicubic"), ("squash", "bilinear")])
def test_pixels_are_those_of_open_clips_transform(size: tuple[int, int], mode: str, interpolation: str) -> None:
    from open_clip.transform import image_transform

    theirs = image_transform(
        32, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=mode, interpolation=interpolation
    )
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ours = ClipPixels(size_px=32, resize_mode=mode, interpolation=interpolation)(image)
    np.testing.assert_array_equal(ours, (theirs(image) * 255).round().to(torch.uint8).numpy())


def test_a_transform_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = exported("s_small", tmp_path)[1]
    path = folder / "open_clip_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "preprocess_cfg": {**said["preprocess_cfg"], "resize_mode": "longest"}}))
    with pytest.raises(UserError, match="can't be prepared for this CLIP in the same pass: found resize_mode longest"):
        ClipScorer(folder, torch.device("cpu"))
    with pytest.raises(UserError, match="not an open_clip directory"):
        ClipScorer(tmp_path / "nowhere", torch.device("cpu"))
    with pytest.raises(UserError, match=r"clip_score\.batch_size"):
        ClipScoreConfig(batch_size=0)
