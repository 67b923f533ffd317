"""The experiments file: one entry stands for many runs, and mistakes are named."""

from pathlib import Path

import pytest

from eval.registry import load_experiments
from runtime.errors import UserError

GRID = """
preset: tiny
runs:
  - {stage: captioner, name: main}
  - {stage: clip, name: "b-p{original_share}-s{seed}", model: b, original_shares: [1.0, 0.8], seeds: [0, 1]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


def test_lists_stand_for_every_combination(tmp_path: Path) -> None:
    experiments = load_experiments(write(tmp_path, GRID))
    assert [run.qualified_name for run in experiments.runs] == [
        "captioner/main",
        "clip/b-p1.0-s0",
        "clip/b-p0.8-s0",
        "clip/b-p1.0-s1",
        "clip/b-p0.8-s1",
    ]
    assert [run.seed for run in experiments.select(stage="clip", original_share=0.8)] == [0, 1]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{stage: clip, name: a, orignal_share: 1}", "unknown key: found orignal_share"),
        ("{stage: clap, name: a}", "unknown stage: found clap"),
        ("{stage: clip}", "a run needs a name and a stage"),
        ("{stage: clip, name: 'a-{seed}', original_share: 1.5, seed: 0}", "original_share out of range: found 1.5"),
        ("{stage: clip, name: 'a-{size}'}", "the name asks for a key that the record lacks: found size"),
        ("{stage: clip, name: a, seeds: 3}", r"tiny\.yaml: runs\[0\]: wrong value for seeds: found 3, wanted a list"),
        ("{stage: clip, name: a, original_shares: 0.8}", "wrong value for original_shares: found 0.8, wanted a list"),
        ("{stage: clip, name: 'a{'}", r"tiny\.yaml: runs\[0\]: wrong value for name: found a{"),
        ("{stage: clip, name: 'a{}'}", "wrong value for name: found a{}"),
        ("{stage: clip, name: a, seeds: [0, 1]}", "the same run twice: found clip/a"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, record: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiments(write(tmp_path, f"runs:\n  - {record}\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: experiments file not found"):
        load_experiments(tmp_path / "nowhere.yaml")
