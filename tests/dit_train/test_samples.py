"""Pictures from a file of prompts."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dit_train import samples
from dit_train.sample_config import SampleConfig
from dit_train.samples import draw_samples, read_manifest
from dit_train.sampling_config import SamplingConfig
from imagetext import files
from runtime.errors import UserError

PROMPTS = ["a cat", "two dogs by a house", "tree", "a red square and much more", ""]


@pytest.fixture
def config(export_folder: Path, tmp_path: Path) -> SampleConfig:
    (tmp_path / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    return SampleConfig(
        pipeline=export_folder,
        prompts=tmp_path / "prompts.txt",
        out=tmp_path / "out",
        seed=3,
        sampling=SamplingConfig(num_steps=2, guidance=2.5, batch_size=2),
        device="cpu",
    )


def pixels(config: SampleConfig, name: str) -> np.ndarray:
    return np.asarray(Image.open(config.out / "images" / f"{name}.png"))


def test_every_prompt_has_a_picture_and_a_row(config: SampleConfig) -> None:
    assert draw_samples(config) == 5
    rows = read_manifest(config.out)
    assert [(row["prompt_id"], row["prompt"]) for row in rows] == [
        (f"{number:05d}", prompt) for number, prompt in enumerate(PROMPTS)
    ]
    digest = files.sha256(config.pipeline / "transformer" / "diffusion_pytorch_model.safetensors")
    for row in rows:
        assert (row["seed"], row["sampler"], row["steps"], row["guidance"]) == (3, "euler", 2, 2.5)
        assert row["checkpoint_sha256"] == digest
        assert Image.open(row["path"]).size == (16, 16)
    sheet = np.asarray(Image.open(config.out / "contact_sheet.png"))
    assert sheet[8:168, 8:168].std() > 5  # the first picture, enlarged
    assert sheet[170:205, 8:168].min() < 100  # its prompt


def test_a_picture_is_the_same_alone_and_in_any_batch(config: SampleConfig, tmp_path: Path) -> None:
    draw_samples(config)
    (tmp_path / "one.jsonl").write_text(json.dumps({"prompt": PROMPTS[2], "id": "00002"}) + "\n")
    alone = replace(config, prompts=tmp_path / "one.jsonl", out=tmp_path / "alone")
    draw_samples(alone)
    assert np.array_equal(pixels(alone, "00002"), pixels(config, "00002"))
    other = replace(alone, seed=4, out=tmp_path / "other")
    draw_samples(other)
    assert np.abs(pixels(other, "00002").astype(int) - pixels(config, "00002")).max() > 5


def test_a_stopped_command_continues_to_the_same_files(
    config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_samples(config)
    stopped = replace(config, out=tmp_path / "stopped")
    write = samples.write_bytes

    def die_at_the_fourth(path: Path, data: bytes) -> None:
        if path.name == "00003.png":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(samples, "write_bytes", die_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        draw_samples(stopped)
    with pytest.raises(UserError, match="pictures are not all drawn"):
        read_manifest(stopped.out)
    monkeypatch.setattr(samples, "write_bytes", write)
    assert draw_samples(stopped) == 2
    for name in ("manifest.jsonl", "contact_sheet.png", *(f"images/0000{number}.png" for number in range(5))):
        assert (stopped.out / name).read_bytes() == (config.out / name).read_bytes()


def test_a_missing_picture_is_an_error_until_it_is_drawn_again(config: SampleConfig) -> None:
    draw_samples(config)
    (config.out / "images" / "00001.png").unlink()
    with pytest.raises(UserError, match="a picture is missing"):
        read_manifest(config.out)
    assert draw_samples(config) == 1
    assert len(read_manifest(config.out)) == 5


def test_several_pictures_of_a_prompt_differ_and_the_first_is_the_only_ones(
    config: SampleConfig, tmp_path: Path
) -> None:
    draw_samples(config)
    several = replace(config, images_per_prompt=2, out=tmp_path / "several")
    assert draw_samples(several) == 10
    assert np.array_equal(pixels(several, "00000-0"), pixels(config, "00000"))
    assert not np.array_equal(pixels(several, "00000-1"), pixels(several, "00000-0"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "pictures drawn otherwise: seed.*found 3, wanted 4"),
        ({"sampling": SamplingConfig(num_steps=3, guidance=2.5, batch_size=2)}, "drawn otherwise: steps"),
        ({"images_per_prompt": 2}, "drawn otherwise: images_per_prompt"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(config: SampleConfig, change: dict[str, object], message: str) -> None:
    draw_samples(config)
    with pytest.raises(UserError, match=message):
        draw_samples(replace(config, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no prompts"),
        ('{"text": "a cat"}\n', r"no prompt: found \['text'\]|found \['text'\]"),
        ('{"prompt": "a", "id": "x/y"}\n', "no id for a picture.*found x/y"),
        ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}\n', "no id for a picture.*found 1"),
        ('{"prompt": "a"\n', "file is not JSON"),
    ],
)
def test_prompts_that_are_none_are_refused(config: SampleConfig, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        draw_samples(replace(config, prompts=path))


def test_the_command_names_a_missing_file(config: SampleConfig) -> None:
    command = [sys.executable, "-m", "dit_train.sample", f"--pipeline={config.pipeline}", "--prompts=nowhere.txt"]
    done = subprocess.run([*command, f"--out={config.out}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: nowhere.txt: no prompts" in done.stderr
