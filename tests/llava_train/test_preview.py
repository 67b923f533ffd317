"""`--preview N`: samples as they would be trained on, and nothing else done."""

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from llava_train.config import FineTuneConfig
from llava_train.preview import preview
from runtime.errors import UserError
from tests.llava_train import tiny


@pytest.fixture
def config(root: Path, tmp_path: Path) -> FineTuneConfig:
    return dataclasses.replace(tiny.config(root, tmp_path / "run"), preview=2)


def previewed(config: FineTuneConfig, *, in_colour: bool = False) -> str:
    stream = io.StringIO()
    preview(config, stream.write, in_colour=in_colour)
    return stream.getvalue()


def test_samples_of_each_phase_show_what_is_supervised(config: FineTuneConfig, tmp_path: Path) -> None:
    text = previewed(config)
    for name in config.phases:
        assert len(re.findall(rf"^phase {name}, ", text, re.MULTILINE)) == 2
    assert re.search(
        r"phase align, align-\d+, \d+\.png: \d+ tokens, \d+ of them supervised\n"
        r"<\|begin_of_text\|><image> x4⟦The whole image is \w+\.↵\n⟧\n",
        text,
    )
    assert re.search(
        r"<\|begin_of_text\|><\|start_header_id\|>user<\|end_header_id\|>↵\n↵\n<image> x4↵\nWhat colour is it\?"
        r"<\|eot_id\|><\|start_header_id\|>assistant<\|end_header_id\|>↵\n↵\n⟦\w+<\|eot_id\|>⟧<\|start_header_id\|>user",
        text,
    )
    assert "phase language, text-" in text and ", no image: " in text
    assert not [name for name in ("config.yaml", "tokenizer", "inputs.json") if (tmp_path / "run" / name).exists()]


def test_terminals_get_colours(config: FineTuneConfig) -> None:
    text = previewed(dataclasses.replace(config, phases=["align"]), in_colour=True)
    assert "\x1b[32mThe whole image is " in text and "\x1b[2m<|begin_of_text|><image> x4\x1b[0m" in text
    assert "⟦" not in text


def test_same_samples_every_time_and_no_more_than_there_are(config: FineTuneConfig) -> None:
    config = dataclasses.replace(config, phases=["detail"], preview=50)
    text = previewed(config)
    assert text.count("phase detail") == 12
    assert text == previewed(config)


def test_tokenizer_of_the_run_is_the_one_shown(export: Path, config: FineTuneConfig) -> None:
    run = export.parent
    before = sorted(path for path in run.rglob("*"))
    text = previewed(dataclasses.replace(config, output_dir=run))
    assert text == previewed(config)
    assert sorted(path for path in run.rglob("*")) == before


def test_sample_that_cannot_be_trained_on_is_shown_with_the_reason(
    config: FineTuneConfig, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root / "data", tmp_path / "data")
    records = json.loads((tmp_path / "data" / "align.json").read_text())
    records[3]["conversations"][1]["value"] = "Red<|eot_id|>"
    (tmp_path / "data" / "align.json").write_text(json.dumps(records))
    config = dataclasses.replace(config, data=tmp_path / "data", phases=["align"], preview=12)
    assert "phase align, refused: record align-3: text holds a special token" in previewed(config)


def test_command_previews_and_leaves(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llava_train.__main__ import main
    from runtime.config import to_yaml

    (tmp_path / "run.yaml").write_text(to_yaml(tiny.config(root, tmp_path / "run")))
    monkeypatch.setattr("sys.argv", ["llava_train", "--config", str(tmp_path / "run.yaml"), "--preview", "1"])
    main()
    assert capsys.readouterr().out.count("of them supervised") == 4
    assert not [name for name in ("config.yaml", "tokenizer", "inputs.json") if (tmp_path / "run" / name).exists()]


def test_preview_of_less_than_nothing_is_refused(config: FineTuneConfig) -> None:
    with pytest.raises(UserError, match="preview: out of range: found -1, wanted >= 0"):
        dataclasses.replace(config, preview=-1)
