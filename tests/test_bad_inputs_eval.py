"""What evaluation and the runner refuse: data, captions, judges, results, experiments and presets that are wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.damage import cut, remove, scribble
from tests.good_inputs import GoodInputs
from tests.refusal import Refused

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "configs" / "experiments" / "quick.yaml"
FINDINGS = ROOT / "configs" / "experiments" / "findings.yaml"


DATA_DAMAGES: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "manifest missing": ("eval clip", "manifest.json", remove),
    "manifest garbled": ("eval clip", "manifest.json", scribble),
    "benchmark shard missing": ("eval clip", "benchmarks/swap/test/0.tar", remove),
    "benchmark shard cut": ("eval clip", "benchmarks/swap/test/0.tar", cut),
    "benchmark count garbled": ("eval clip", "benchmarks/kinds/test/nshards.txt", scribble),
    "class names missing": ("eval clip", "benchmarks/kinds/classnames.txt", remove),
    "held-out shard missing": ("eval captions", "web_heldout/00000.tar", remove),
    "held-out shard cut": ("eval captions", "web_heldout/00000.tar", cut),
    "judges' shard cut": ("eval judges", "judges/train/00000.tar", cut),
    "prompts missing": ("eval images", "prompts/raw.jsonl", remove),
    "prompts garbled": ("eval images", "prompts/raw.jsonl", scribble),
}


@pytest.mark.parametrize("damage", DATA_DAMAGES)
def test_damaged_data_is_named(damage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    stage, name, break_it = DATA_DAMAGES[damage]
    data = tmp_path / "miniweb"
    shutil.copytree(good.miniweb, data)
    break_it(data / name)
    said = refused(stage, *good.arguments(stage), f"--miniweb={data}", f"--output_dir={tmp_path / 'out'}")
    assert str(data / Path(name).parts[0]) in said


CAPTION_DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "parquet missing": ("00000.parquet", remove),
    "mark missing": ("00000_stats.json", remove),
    "parquet cut": ("00000.parquet", cut),
}


@pytest.mark.parametrize("damage", CAPTION_DAMAGES)
def test_damaged_recaptions_are_named(damage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    name, break_it = CAPTION_DAMAGES[damage]
    folder = tmp_path / "heldout"
    shutil.copytree(good.recaptions["web_heldout"], folder)
    break_it(folder / name)
    arguments = [*good.arguments("eval captions"), f"--recaptions.web_heldout={folder}"]
    assert str(folder) in refused("eval captions", *arguments, f"--output_dir={tmp_path / 'out'}")


@pytest.mark.parametrize("stage", ["eval captions", "eval images"])
def test_recaptions_that_do_not_exist_are_named(stage: str, good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    split = "prompts" if stage == "eval images" else "web_heldout"
    arguments = [*good.arguments(stage), f"--recaptions.{split}={tmp_path / 'nowhere'}"]
    assert str(tmp_path / "nowhere") in refused(stage, *arguments, f"--output_dir={tmp_path / 'out'}")


@pytest.mark.parametrize("break_it", [cut, scribble, remove])
def test_damaged_judges_are_named(
    break_it: Callable[[Path], None], good: GoodInputs, refused: Refused, tmp_path: Path
) -> None:
    shutil.copytree(good.judges, tmp_path / "judges")
    files = sorted((tmp_path / "judges").rglob("*.safetensors"))
    break_it(files[0])
    arguments = [*good.arguments("eval images"), f"--judges={tmp_path / 'judges'}"]
    assert str(files[0]) in refused("eval images", *arguments, f"--output_dir={tmp_path / 'out'}")


def test_a_run_that_is_none_is_named(good: GoodInputs, refused: Refused, tmp_path: Path) -> None:
    for folder, expected in {
        tmp_path: "the run is not finished",
        tmp_path / "nowhere": "the run is not finished",
    }.items():
        arguments = [f"--miniweb={good.miniweb}", f"--run={folder}", f"--output_dir={tmp_path / 'out'}"]
        assert f"{folder}: {expected}" in refused("eval clip", *arguments)
    assert "Pass --run RUN_FOLDER" in refused("eval clip", f"--miniweb={good.miniweb}", f"--output_dir={tmp_path}")


RESULTS = ("eval collect", "eval tables", "eval report")


@pytest.mark.parametrize("stage", RESULTS)
def test_results_that_are_none_or_damaged_are_named(stage: str, refused: Refused, tmp_path: Path) -> None:
    call = (f"--experiments={EXPERIMENTS}", f"--findings={FINDINGS}")
    assert f"{tmp_path / 'nowhere'}: no such folder of runs" in refused(stage, *call, f"--root={tmp_path / 'nowhere'}")
    (tmp_path / "file").write_text("no folder")
    assert f"{tmp_path / 'file'}: " in refused(stage, *call, f"--root={tmp_path / 'file'}")
    suite = tmp_path / "runs" / "eval" / "clip" / "b" / "clip"
    suite.mkdir(parents=True)
    (suite / "done.json").write_text("{}")
    for content in ("{", '{"suite": "clip"}', "7"):
        (suite / "rows.jsonl").write_text(content + "\n")
        assert f"{suite / 'rows.jsonl'}:1: " in refused(stage, *call, f"--root={tmp_path / 'runs'}")


BROKEN_EXPERIMENTS = {
    "not YAML": ("runs: [", "not YAML: "),
    "no runs": ("preset: quick\n", "no list of runs"),
    "unknown key": ("runs: [{name: a, stage: clip, colour: red}]", "unknown key: found colour"),
    "unknown stage": ("runs: [{name: a, stage: paint}]", "unknown stage: found paint"),
    "share in words": ("runs: [{name: a, stage: clip, original_share: half}]", "original_share"),
    "share above one": (
        "runs: [{name: a, stage: clip, original_share: 1.2}]",
        "original_share out of range: found 1.2",
    ),
    "twice": ("runs: [{name: a, stage: clip}, {name: a, stage: clip}]", "the same run twice"),
    "seed in words": ("runs: [{name: a, stage: clip, seed: lucky}]", "seed"),
}


@pytest.mark.parametrize("damage", BROKEN_EXPERIMENTS)
def test_broken_experiments_are_named(damage: str, refused: Refused, tmp_path: Path) -> None:
    content, expected = BROKEN_EXPERIMENTS[damage]
    path = tmp_path / "experiments.yaml"
    path.write_text(content)
    said = refused("eval tables", f"--experiments={path}", f"--findings={FINDINGS}", f"--root={tmp_path}")
    assert expected in said and ("run a" in said or str(path) in said)


def test_broken_findings_are_named(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "findings.yaml"
    call = ("eval tables", f"--experiments={EXPERIMENTS}", f"--findings={path}", f"--root={tmp_path}")
    assert f"{path}: file of declared contrasts not found" in refused(*call)
    for content in ("findings: [", "7\n", "findings: []\n"):
        path.write_text(content)
        assert f"{path}: " in refused(*call)
    declared = yaml.safe_load(FINDINGS.read_text())
    del declared["findings"][0]["claim"]
    path.write_text(yaml.dump(declared))
    assert f"{path}: " in refused(*call) and "claim" in refused(*call)


@pytest.mark.parametrize("verb", ["reproduce", "status", "plan"])
def test_a_preset_that_does_not_exist_is_answered_with_those_there_are(
    verb: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = refused("openrecap", verb, "--preset=huge")
    assert said == "error: --preset: no such preset: found huge, wanted one of mini, mini_full, quick"


def test_the_runner_names_what_it_can_not_use(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert "unknown stage: found paint" in refused("openrecap", "reproduce", f"--runs={tmp_path}", "--until=paint")
    (tmp_path / "file").write_text("no folder")
    said = refused("openrecap", "reproduce", "--preset=quick", f"--runs={tmp_path / 'file'}")
    assert f"{tmp_path / 'file'}: " in said and "found a file, wanted a folder" in said
    marks = tmp_path / "quick" / ".done"
    marks.mkdir(parents=True)
    for content in ("{", "{}", "[]"):
        (marks / "data.json").write_text(content)
        assert f"{marks / 'data.json'}: " in refused("openrecap", "status", "--preset=quick", f"--runs={tmp_path}")


@pytest.mark.parametrize("arguments", [["paint"], ["reproduce", "--colour=red"], ["status", "--preset"], []])
def test_a_wrong_command_line_ends_with_one_line(arguments: list[str], refused: Refused) -> None:
    assert refused("openrecap", *arguments).startswith("error: ")
