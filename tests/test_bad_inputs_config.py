"""Wrong fields, wrong config files and folders that are in the way: every stage says so in one line, with code 2."""

from pathlib import Path

import pytest

from tests.good_inputs import GoodInputs
from tests.refusal import Refused

STAGES = (
    "miniweb", "imagetext inspect", "imagetext shuffle-sidecar", "clip_train", "dit_train", "llava_train",
    "recaption run", "recaption status", "recaption verify", "eval captions", "eval captioner", "eval clip",
    "eval images", "eval judges", "eval collect", "eval tables", "eval report",
)  # fmt: skip
SEEDED = ("miniweb", "imagetext shuffle-sidecar", "clip_train", "dit_train", "llava_train")


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_key_is_named(stage: str, refused: Refused, tmp_path: Path) -> None:
    assert "colour" in refused(stage, "--colour=red")
    (tmp_path / "config.yaml").write_text("colour: red\n")
    assert "colour" in refused(stage, f"--config={tmp_path / 'config.yaml'}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_config_file_that_is_none_is_named(stage: str, refused: Refused, tmp_path: Path) -> None:
    assert refused(stage, f"--config={tmp_path / 'no.yaml'}") == (
        f"error: {tmp_path / 'no.yaml'}: config file not found. Give the path of a YAML file."
    )
    assert f"{tmp_path}: config file not found" in refused(stage, f"--config={tmp_path}")
    (tmp_path / "twice.yaml").write_text("seed: 1\nthreads: 2\nseed: 3\n")
    said = refused(stage, f"--config={tmp_path / 'twice.yaml'}")
    assert said.endswith("twice.yaml: key 'seed' is given twice: found lines 1 and 3, wanted one of them")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert "binary.yaml: not YAML" in refused(stage, f"--config={tmp_path / 'binary.yaml'}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_field_is_named(stage: str, refused: Refused) -> None:
    said = refused(stage)
    assert any(field in said for field in ("output_dir", "shards", "sidecar", "root")), said


@pytest.mark.parametrize("stage", SEEDED)
def test_a_seed_in_words_is_refused(stage: str, refused: Refused) -> None:
    assert refused(stage, "--seed=lucky") == "error: seed: wrong value: found lucky, wanted int"


@pytest.mark.parametrize(
    "stage",
    [
        "miniweb", "imagetext shuffle-sidecar", "clip_train", "dit_train", "llava_train", "recaption run",
        "eval captions", "eval clip",
    ],
)  # fmt: skip
def test_an_output_folder_that_is_a_file_is_named(
    stage: str, good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    arguments = good.arguments(stage)
    for place in (tmp_path / "taken", tmp_path / "taken" / "below"):
        said = refused(stage, *arguments, f"--output_dir={place}")
        assert f"{tmp_path / 'taken'}: " in said and "found a file, wanted a folder" in said


@pytest.mark.parametrize("stage", ["clip_train", "dit_train"])
def test_a_share_above_one_is_refused(stage: str, refused: Refused, tmp_path: Path) -> None:
    required = ["--output_dir=x", "--data.shards=x", "--text_encoder=x", "--loop.ema_decay=0.9", *_LOOP]
    arguments = [each for each in required if stage == "dit_train" or "encoder" not in each]
    said = refused(stage, *arguments, "--mix.original_share=1.2")
    assert "original_share" in said and "found 1.2, wanted a share in [0, 1]" in said


_LOOP = ("--loop.num_updates=1", "--loop.batch_size=2", "--loop.learning_rate=0.1")


@pytest.mark.parametrize("stage", ["clip_train", "dit_train", "llava_train", "recaption run", "miniweb"])
def test_a_finished_folder_with_another_config_is_refused(stage: str, good: GoodInputs, refused: Refused) -> None:
    change, field = {
        "recaption run": ("--max_new_tokens=5", "max_new_tokens"),
    }.get(stage, ("--seed=9", "seed"))
    folder = good.finished(stage)
    said = refused(stage, *good.arguments(stage), f"--output_dir={folder}", change)
    assert f"{folder}: " in said and field in said and "wanted" in said


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("imagetext paint", "one of inspect, shuffle-sidecar"),
        ("recaption paint", "one of run, plan, status, verify"),
        ("eval paint", "captions | modes | captioner | clip | images | judges | benchmark | pictures"),
    ],
)
def test_an_unknown_verb_is_answered_with_those_there_are(command: str, wanted: str, refused: Refused) -> None:
    said = refused(command)
    assert "found paint" in said and wanted in said
