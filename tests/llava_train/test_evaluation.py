"""What a phase is measured on while it trains: held-out loss, captions and, of drawn pictures, their claims."""

import dataclasses
import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from imagetext.shards import ShardRow, make_key, write_shard
from llava_train.config import FineTuneConfig
from llava_train.evaluation import claim_shares, read_heldout
from llava_train.heldout_config import HeldoutConfig
from llava_train.phases import WEIGHTS, fine_tune
from llava_train.pixels import PixelGeometry
from miniweb import grammar
from miniweb.scene import Scene, Thing
from runtime.errors import UserError
from runtime.seeds import numpy_generator
from tests.llava_train import tiny

HOUSE = Thing("house", "velmont", "red", "large", 0.25, 0.25, 0.45)
BOAT = Thing("boat", "marlow", "blue", "small", 0.75, 0.25, 0.3)
SCENE = Scene("meadow", (HOUSE, BOAT))
GEOMETRY = PixelGeometry(image_size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def described(scene: Scene) -> str:
    return grammar.describe(scene, numpy_generator("held out"))


def write_scenes(folder: Path, num_samples: int = 3) -> Path:
    picture = BytesIO()
    Image.new("RGB", (20, 20), (220, 30, 30)).save(picture, "JPEG")
    rows = [
        ShardRow(
            key=make_key(0, index),
            image=picture.getvalue(),
            caption=described(SCENE),
            metadata={"scene": SCENE.to_json()},
        )
        for index in range(num_samples)
    ]
    write_shard(folder, 0, rows)
    return folder


def test_claims_of_captions_are_shares_over_all_of_them() -> None:
    assert claim_shares([(described(SCENE), SCENE)] * 2) == {
        "heldout_coverage": 1.0,
        "heldout_unsupported_share": 0.0,
    }
    half = claim_shares([(described(SCENE), SCENE), ("", SCENE)])
    assert half["heldout_coverage"] == 0.5 and half["heldout_unsupported_share"] == 0.0
    assert claim_shares([("There is a green car.", SCENE)])["heldout_unsupported_share"] == 1.0
    assert claim_shares([("A caption of a picture that nobody knows.", None)]) == {}


def with_heldout(config: FineTuneConfig, heldout: HeldoutConfig | None) -> FineTuneConfig:
    detail = dataclasses.replace(config.detail, heldout=heldout)
    # The descriptions of scenes are longer than what the tiny captioner reads elsewhere.
    language_model = dataclasses.replace(config.language_model, max_length_tokens=512)
    return dataclasses.replace(config, phases=["detail"], detail=detail, language_model=language_model)


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "phases" / "detail" / name).read_text().splitlines()]


def test_a_phase_is_measured_and_its_weights_are_the_same(root: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes")
    heldout = HeldoutConfig(
        scenes=tmp_path / "scenes", num_samples=3, num_captions=2, max_new_tokens=8, every_updates=2
    )
    measured = with_heldout(tiny.config(root, tmp_path / "measured"), heldout)
    plain = with_heldout(tiny.config(root, tmp_path / "plain"), None)
    for config in (measured, plain):
        fine_tune(config)
    first, second = (load_file(config.output_dir / "phases" / "detail" / WEIGHTS) for config in (measured, plain))
    assert all(bool((first[name] == second[name]).all()) for name in first)
    found = [row for row in rows_of(measured.output_dir, "metrics.jsonl") if "heldout_loss" in row]
    assert [row["update"] for row in found] == [2, 3], "every second update, and the last"
    assert all(row["heldout_coverage"] >= 0 and row["heldout_loss"] > 0 for row in found)
    captions = rows_of(measured.output_dir, "captions.jsonl")
    assert [(row["update"], row["key"]) for row in captions] == [
        (update, make_key(0, index)) for update in (2, 3) for index in (0, 1)
    ]
    speed = rows_of(measured.output_dir, "speed.jsonl")[-1]
    assert speed["images_per_second"] > 0 and speed["supervised_tokens_per_second"] > 0
    assert speed["tokens_per_second"] > speed["supervised_tokens_per_second"] and speed["flops_per_second"] > 0


def test_killed_between_measurements_and_continued_tells_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llava_train import phases

    heldout = HeldoutConfig(conversations="detail.json", num_samples=4, max_new_tokens=4, every_updates=1)
    folders = [tmp_path / "undisturbed", tmp_path / "continued"]
    fine_tune(with_heldout(tiny.config(root, folders[0]), heldout))
    original, done = phases.AnswerTask.loss, 0

    def loss_until_killed(self: phases.AnswerTask, *arguments: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if done == 6:  # in the third update, after two measurements; the checkpoint is the second update's
            raise KeyboardInterrupt
        return original(self, *arguments, **named)

    monkeypatch.setattr(phases.AnswerTask, "loss", loss_until_killed)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(with_heldout(tiny.config(root, folders[1]), heldout))
    monkeypatch.undo()
    fine_tune(with_heldout(tiny.config(root, folders[1]), heldout))
    for name in ("metrics.jsonl", "captions.jsonl"):
        assert rows_of(folders[0], name) == rows_of(folders[1], name)


def below(data: Path, root: Path) -> FineTuneConfig:
    """Return a run that reads below another data folder."""
    return dataclasses.replace(tiny.config(root, data / "run"), data=data)


def test_pictures_without_a_scene_are_refused(root: Path, tmp_path: Path) -> None:
    picture = BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    write_shard(tmp_path / "web", 0, [ShardRow(key=make_key(0, 0), image=picture.getvalue(), caption="A thing.")])
    with pytest.raises(UserError, match=r"000000000: a sample without its scene: wanted scene in \.json"):
        read_heldout(below(tmp_path, root), HeldoutConfig(scenes=Path("web")), GEOMETRY)


def test_missing_and_damaged_inputs_are_named(root: Path, tmp_path: Path) -> None:
    config, heldout = below(tmp_path, root), HeldoutConfig(conversations="detail.json")
    with pytest.raises(UserError, match=r"detail\.json: no held-out conversations"):
        read_heldout(config, heldout, GEOMETRY)
    shutil.copy(root / "data" / "detail.json", tmp_path)
    with pytest.raises(UserError, match=r"images/0\.png: a held-out picture is missing: found missing: "):
        read_heldout(config, heldout, GEOMETRY)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"images/0\.png: a held-out picture is damaged: found not_an_image"):
        read_heldout(config, heldout, GEOMETRY)


@pytest.mark.parametrize("naming", ["heldout/{tar}/{key}", "heldout/{tar}/{key}.png"])
def test_pictures_in_shards_are_measured_on_as_those_in_folders(root: Path, tmp_path: Path, naming: str) -> None:
    """The shards are the held-out file's own: no training conversation names them."""
    heldout = HeldoutConfig(conversations="detail.json", num_samples=5)
    plain = read_heldout(tiny.config(root, tmp_path / "run"), heldout, GEOMETRY)
    folder = tmp_path / "images" / "heldout"
    pictures = [(root / "data" / "images" / f"{number}.png").read_bytes() for number in range(5)]
    records = json.loads((root / "data" / "detail.json").read_text())[:5]
    for shard, rows in enumerate((range(3), range(3, 5))):
        write_shard(
            folder,
            shard,
            [
                ShardRow(key=make_key(shard, row), image=pictures[number], extension="png", caption="A thing.")
                for row, number in enumerate(rows)
            ],
        )
        for row, number in enumerate(rows):
            records[number]["image"] = naming.format(tar=f"{shard:05d}.tar", key=make_key(shard, row))
    (tmp_path / "detail.json").write_text(json.dumps(records))
    packed = read_heldout(below(tmp_path, root), heldout, GEOMETRY)
    assert [sample.conversation.turns for sample in packed] == [sample.conversation.turns for sample in plain]
    for one, other in zip(packed, plain, strict=True):
        assert one.pixels is not None and other.pixels is not None and (one.pixels == other.pixels).all()
    records[4]["image"] = "heldout/00001.tar/000010009"
    (tmp_path / "detail.json").write_text(json.dumps(records))
    with pytest.raises(UserError, match=r"images/heldout/00001\.tar/000010009: a held-out picture is missing"):
        read_heldout(below(tmp_path, root), heldout, GEOMETRY)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"no choice of samples: found neither"),
        ({"conversations": "a.json", "scenes": Path("b")}, r"no choice of samples: found both"),
        ({"conversations": "a.json", "num_samples": 0}, r"heldout\.num_samples: out of range"),
        ({"conversations": "a.json", "num_captions": -1}, r"heldout\.num_captions: out of range"),
        ({"conversations": "a.json", "every_updates": 0}, r"heldout\.every_updates: out of range"),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HeldoutConfig(**fields)


def test_captions_need_whole_weights(root: Path, tmp_path: Path) -> None:
    detail = tiny.config(root, tmp_path).detail
    loop = dataclasses.replace(detail.loop, sharding="zero3")
    with pytest.raises(UserError, match=r"heldout\.num_captions: .*found 4, wanted 0 under zero3"):
        dataclasses.replace(detail, loop=loop, heldout=HeldoutConfig(conversations="detail.json"))
    dataclasses.replace(detail, loop=loop, heldout=HeldoutConfig(conversations="detail.json", num_captions=0))
