"""GenEval's files become rows; positions by hand-computed boxes; nothing missing leaves the mean unseen."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval import __main__ as command
from eval.geneval.prompts import GenEvalPrompt, parse_prompt, read_prompts
from eval.geneval.results import read_judged
from eval.geneval.rules import relations, shows_all
from eval.geneval.scores import by_rules, measurements, protocol_of
from eval.rows import read_rows
from runtime.errors import UserError
from tests.eval.runs import finished_run

PROMPTS: list[dict[str, Any]] = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {
        "tag": "counting",
        "include": [{"class": "clock", "count": 2}],
        "exclude": [{"class": "clock", "count": 3}],
        "prompt": "a photo of two clocks",
    },
    {
        "tag": "position",
        "include": [{"class": "cup", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}],
        "prompt": "a photo of a dog right of a cup",
    },
    {"tag": "colors", "include": [{"class": "car", "count": 1, "color": "red"}], "prompt": "a photo of a red car"},
]
LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]
FOUND: list[list[tuple[bool, str, dict[str, Any]]]] = [
    [(True, "", {"bench": [LEFT]}), (False, "expected bench>=1, found 0", {})],
    [(True, "", {"clock": [LEFT, RIGHT]}), (False, "expected clock<3, found 3", {"clock": [LEFT, RIGHT, LEFT]})],
    [(True, "", {"cup": [LEFT], "dog": [RIGHT]}), (False, "expected dog right of", {"cup": [RIGHT], "dog": [LEFT]})],
    [(True, "", {"car": [LEFT]}), (False, "expected red car>=1, found 0 red; and 1 blue", {"car": [LEFT]})],
]


def prompt(index: int) -> GenEvalPrompt:
    return parse_prompt(json.dumps(PROMPTS[index]), index, "here")


def results() -> list[dict[str, Any]]:
    return [
        {
            "filename": f"out/{index:05}/samples/{picture:04}.png",
            "tag": PROMPTS[index]["tag"],
            "prompt": PROMPTS[index]["prompt"],
            "correct": is_right,
            "reason": reason,
            "metadata": json.dumps(PROMPTS[index]),
            "details": json.dumps({thing: [[*box, 0.9] for box in boxes] for thing, boxes in found.items()}),
        }
        for index, pictures in enumerate(FOUND)
        for picture, (is_right, reason, found) in enumerate(pictures)
    ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write prompts and results, each a line an object."""
    paths = tmp_path / "metadata.jsonl", tmp_path / "results.jsonl"
    for path, records in zip(paths, (PROMPTS, results()), strict=True):
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return paths


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        ([50, 0, 60, 10], {"right of"}),
        ([-50, 0, -40, 10], {"left of"}),
        ([0, 50, 10, 60], {"below"}),
        ([0, -50, 10, -40], {"above"}),
        ([50, 50, 60, 60], {"right of", "below"}),
        # Centres 2 apart, 0.1 x (10 + 10) of slack: touching.
        ([2, 0, 12, 10], set()),
        # 20 right and 10 down: (18, 8) over a distance of 22.36 is (0.805, 0.358), so right alone.
        ([20, 10, 30, 20], {"right of"}),
        # 4 right: (4 - 2) / 4 is 0.5, not more than it.
        ([4, 0, 14, 10], set()),
        ([4.1, 0, 14.1, 10], {"right of"}),
    ],
)
def test_positions_by_hand(first: list[float], wanted: set[str]) -> None:
    assert relations(first, [0, 0, 10, 10, 0.99]) == wanted


def test_only_the_most_confident_things_are_looked_at() -> None:
    asked = prompt(2)
    assert shows_all(asked, {"cup": [LEFT], "dog": [RIGHT, LEFT]}, colours_hold=True)
    assert not shows_all(asked, {"cup": [LEFT], "dog": [LEFT, RIGHT]}, colours_hold=True)
    assert not shows_all(asked, {"dog": [RIGHT]}, colours_hold=True)
    assert not shows_all(asked, {"cup": [LEFT], "dog": [RIGHT]}, colours_hold=False)


def test_scores(files: tuple[Path, Path]) -> None:
    prompts = read_prompts(files[0])
    judged = read_judged(files[1], prompts, 2)
    assert by_rules(prompts, judged) == judged
    found = {one.metric: one for one in measurements(prompts, judged, "p", 200)}
    assert {name: one.interval.value for name, one in found.items()} == {
        "geneval_single_object/pictures": 0.5,
        "geneval_counting/pictures": 0.5,
        "geneval_colors/pictures": 0.5,
        "geneval_position/pictures": 0.5,
        "geneval/overall": 0.5,
        "geneval/prompts": 1.0,
    }
    assert found["geneval/overall"].count == 4
    assert "4 prompts, not the published" in protocol_of(prompts, 2, "recorded")


def test_the_overall_score_is_the_mean_of_tasks_not_of_pictures(tmp_path: Path) -> None:
    records = [PROMPTS[0], PROMPTS[0], PROMPTS[0], PROMPTS[1]]
    prompts = [parse_prompt(json.dumps(record), index, "here") for index, record in enumerate(records)]
    lines = [{**results()[0], "filename": f"{index:05}/samples/0000.png"} for index in range(3)]
    lines.append({**results()[3], "filename": "00003/samples/0000.png"})
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    found = {one.metric: one.interval for one in measurements(prompts, read_judged(path, prompts, 1), "p", 100)}
    assert found["geneval/overall"].value == 0.5 and found["geneval/prompts"].value == 0.75


def test_reference_mode_judges_from_boxes(files: tuple[Path, Path], tmp_path: Path, run: Path) -> None:
    records = results()
    records[0]["correct"] = False
    files[1].write_text("\n".join(map(json.dumps, records)))
    arguments = ["geneval", "--prompts", str(files[0]), "--results", str(files[1]), "--run", str(run)]
    arguments += ["--pictures_per_prompt", "2", "--bootstrap_replicates", "50"]
    values = {}
    for mode in ("recorded", "reference"):
        command.main([*arguments, "--output_dir", str(tmp_path / mode), "--mode", mode])
        rows = read_rows(tmp_path / mode / "geneval" / "rows.jsonl")
        values[mode] = {row.metric: row.value for row in rows}["geneval_single_object/pictures"]
        assert {row.run for row in rows} == {"dit/main"} and mode in rows[0].protocol
    assert values == {"recorded": 0.0, "reference": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a generator."""
    return finished_run(tmp_path / "runs" / "dit" / "main")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines.pop(3), "not every picture was judged: found 1 missing, 0 more .* 00001/samples/0001.png"),
        (lambda lines: lines.append(lines[0]), "results.jsonl:9: a picture twice: found 00000/0000.png"),
        (lambda lines: lines[0].update(prompt="a photo of a cat"), "1: another prompt: found a photo of a cat"),
        (lambda lines: lines[0].update(filename="out/x.png"), "1: not a picture's place: found out/x.png"),
        (lambda lines: lines[0].update(filename="out/00009/samples/0000.png"), "1: a picture of no prompt: found 9"),
        (lambda lines: lines[0].update(details='{"bench": [[1, 2]]}'), "not boxes of 'bench'"),
        (lambda lines: lines[0].pop("correct"), "file has no key 'correct'"),
    ],
)
def test_bad_results(files: tuple[Path, Path], edit: Any, message: str) -> None:
    lines = results()
    edit(lines)
    files[1].write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UserError, match=message):
        read_judged(files[1], read_prompts(files[0]), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tag": "colour"}, "here: unknown task: found colour"),
        ({"include": [{"class": "bench", "count": 0}]}, "here: include: not a demand"),
        ({"include": [{"class": "bench", "count": 1, "color": "beige"}]}, "unknown colour: found beige"),
        ({"include": [{"class": "bench", "count": 1, "position": ["near", 0]}]}, "not a position"),
        ({"include": [{"class": "bench", "count": 1, "position": ["above", 0]}]}, "refers to no earlier demand"),
    ],
)
def test_bad_prompts(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_prompt(json.dumps({**PROMPTS[0], **change}), 0, "here")
    with pytest.raises(UserError, match="no prompts of GenEval here"):
        read_prompts(Path("nowhere.jsonl"))


def drawn(folder: Path, num_prompts: int = 4) -> Path:
    """Fill a folder as `dit_train.sample --prompts evaluation_metadata.jsonl --images_per_prompt 2` does."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(num_prompts):
        for number in range(2):
            name = f"{index:05d}-{number}.png"
            (folder / "images" / name).write_bytes(name.encode())
            row = {"prompt_id": f"{index:05d}", "prompt": PROMPTS[index]["prompt"], "number": number, "file": name}
            rows.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def test_pictures_are_laid_out_as_geneval_reads_them(files: tuple[Path, Path], tmp_path: Path) -> None:
    flags = ["--prompts", str(files[0]), "--pictures", str(drawn(tmp_path / "drawn"))]
    command.main(["geneval_folder", *flags, "--output_dir", str(tmp_path / "out")])
    laid = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    names = ("metadata.jsonl", "samples/0000.png", "samples/0001.png")
    assert laid == {f"{index:05}/{name}" for index in range(4) for name in names}
    assert (tmp_path / "out/00002/samples/0001.png").read_bytes() == b"00002-1.png"
    assert json.loads((tmp_path / "out/00002/metadata.jsonl").read_text()) == PROMPTS[2]


def test_pictures_of_other_prompts_are_not_laid_out(files: tuple[Path, Path], tmp_path: Path) -> None:
    few = drawn(tmp_path / "few", 3)
    with pytest.raises(UserError, match="unlike numbers of pictures: found 0 of 'a photo of a red car', wanted 2"):
        command.main(["geneval_folder", "--prompts", str(files[0]), "--pictures", str(few), "--output_dir", "out"])
    (few / "manifest.jsonl").write_text((few / "manifest.jsonl").read_text().replace("bench", "cat"))
    with pytest.raises(UserError, match="a picture of another prompt: found a photo of a cat"):
        command.main(["geneval_folder", "--prompts", str(files[0]), "--pictures", str(few), "--output_dir", "out"])
