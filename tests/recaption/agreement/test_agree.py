"""Two runs agree where captions are equal or part at a tie; anything else is told and refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagetext.sidecars import read_sidecar_table, write_sidecar
from llava_train.model import load_captioner
from recaption import verbs
from recaption.agreement.config import AgreeConfig
from recaption.agreement.differences import compare
from recaption.agreement.ties import END, Partings
from recaption.agreement.verb import agree
from recaption.config import RecaptionConfig
from recaption.engine_config import EngineConfig
from runtime.errors import UserError

Change = Callable[[dict[str, Any]], None]
PROMPT = "What is it?"


@pytest.fixture(scope="module")
def job(model: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "side"
    config = RecaptionConfig(
        model=model, output_dir=folder, shards=str(shards), device="cpu", precision="fp32", max_new_tokens=6,
        batch_size=8, prompt=PROMPT, engine=EngineConfig(supervised=False),
    )  # fmt: skip
    verbs.run(config)
    return folder


def copied(job: Path, place: Path, change: Change) -> Path:
    """Return a copy of a job, the first captioned row of its second unit changed."""
    shutil.copytree(job, place)
    rows = read_sidecar_table(place, "00001").to_pylist()
    change(next(row for row in rows if row["status"] == "success"))
    write_sidecar(place, "00001", rows)
    return place


def test_a_job_agrees_with_itself(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agree(AgreeConfig(recaptions=job, other=copied(job, tmp_path / "other", lambda row: None), device="cpu"))
    assert "15 of 15 captions are equal (100.00 %), 0 part at a tie" in capsys.readouterr().out


def test_a_caption_that_parts_where_the_model_was_sure_is_refused(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = copied(job, tmp_path / "other", lambda row: row.update(re_caption="zebra"))
    with pytest.raises(SystemExit):
        agree(AgreeConfig(recaptions=job, other=other, device="cpu", equal_share_min=0.5))
    said = capsys.readouterr().out
    assert "00001/000010000 re_caption: " in said and "0 part at a tie of two tokens, 1 elsewhere" in said
    with pytest.raises(SystemExit):
        agree(AgreeConfig(recaptions=job, other=other, device="cpu", tie=1e9))


def test_a_row_that_only_one_run_captioned_is_told(job: Path, tmp_path: Path) -> None:
    other = copied(job, tmp_path / "other", lambda row: row.update(status="gave_up", re_caption=None))
    found = compare(job, other, ["00000", "00001"], ["re_caption"])
    assert (found.num_captions, found.num_equal) == (9, 9)
    assert found.unlike == ["00001/000010000: success and gave_up"]


def test_what_was_said_first_is_compared_where_a_row_was_asked_again(job: Path, tmp_path: Path) -> None:
    def repaired(row: dict[str, Any]) -> None:
        row.update(repairs=["first: prompt_echo", "sampled: clean"], first_caption=row["re_caption"], re_caption="new")

    found = compare(job, copied(job, tmp_path / "other", repaired), ["00001"], ["re_caption"])
    assert (found.num_equal, found.differences, found.unlike) == (5, [], [])


def test_runs_that_can_not_be_compared_are_refused(job: Path, tmp_path: Path) -> None:
    other = tmp_path / "asked"
    shutil.copytree(job, other)
    saved_text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(saved_text.replace(PROMPT, "Who is it?"))
    with pytest.raises(UserError, match="was asked something else: found Who is it"):
        agree(AgreeConfig(recaptions=job, other=other))
    fewer = copied(job, tmp_path / "fewer", lambda row: row.update(key="another"))
    with pytest.raises(UserError, match="rows of another input"):
        agree(AgreeConfig(recaptions=job, other=fewer))
    with pytest.raises(UserError, match="tie: out of range"):
        AgreeConfig(recaptions=job, other=job, tie=-1.0)


def test_a_parting_is_where_the_logits_say(model: Path) -> None:
    partings, captioner = Partings(model, "cpu"), load_captioner(model, device="cpu", precision=torch.float32)
    pixels = partings.prepare(Image.new("RGB", (24, 20), (200, 30, 30)))
    ids = captioner.tokenizer.encode("a red boat", add_special_tokens=False)
    text, longer = "a red boat", "a red boat a"
    found = partings.find(pixels, PROMPT, text, longer)
    assert found is not None and found.num_shared_tokens == len(ids) and found.token == END
    prompt = torch.tensor([[*captioner.prompt_ids(PROMPT), *ids]])
    with torch.inference_mode():
        pixel_values = captioner.normaliser(torch.from_numpy(np.asarray(pixels))[None])
        logits = captioner.llava(input_ids=prompt, pixel_values=pixel_values).logits[0, -1]
    stop = max(float(logits[one]) for one in captioner.stop_ids)
    following = captioner.tokenizer.encode(longer, add_special_tokens=False)[len(ids)]
    assert found.logit_gap == pytest.approx(abs(stop - float(logits[following])), abs=1e-4)
    less = min(stop, float(logits[following]))
    assert found.rank == sum(float(one) >= less - 1e-6 for one in logits)
    assert partings.find(pixels, PROMPT, text, text) is None
    assert replace(found, logit_gap=0.25).describe().startswith(f"'{END}' or ")
