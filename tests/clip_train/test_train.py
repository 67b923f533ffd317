import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from clip_train.__main__ import main
from clip_train.config import ClipTrainConfig
from clip_train.model import load_encoder
from clip_train.train import train
from imagetext.mix import CaptionMixConfig
from imagetext.shards import ShardRow, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig
from runtime.config import to_yaml
from runtime.errors import UserError
from runtime.loop_config import LoopConfig

COLOURS = ["red", "green", "blue", "yellow", "black", "white"]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import io

    folder = tmp_path_factory.mktemp("web")
    rows, recaptions = [], []
    for index in range(24):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 16), COLOURS[index % 6]).save(buffer, "PNG")
        key = f"{index:09d}"
        rows.append(
            ShardRow(
                key=key, image=buffer.getvalue(), extension="png", caption=f"shop {COLOURS[index % 6]}", metadata={}
            )
        )
        recaptions.append({"key": key, "re_caption": f"The image is {COLOURS[index % 6]}. It is plain."})
    write_shard(folder / "shards", 0, rows)
    write_sidecar(folder / "recaption", "00000", recaptions)
    return folder


def config_of(web: Path, output_dir: Path, *, num_updates: int = 4, **changes: object) -> ClipTrainConfig:
    settings: dict[str, object] = {
        "output_dir": output_dir,
        "data": DataConfig(shards=web / "shards", sidecars={"recaption": web / "recaption"}),
        "mix": CaptionMixConfig(original_share=0.5),
        "model": "s_small",
        "image_size_px": 32,
        "context_length": 12,
        "vocab_size": 300,
        "loop": LoopConfig(
            num_updates=num_updates, batch_size=6, learning_rate=1e-3, checkpoint_every_updates=2, wandb="off"
        ),
    }
    return ClipTrainConfig(**{**settings, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "export" / "open_clip_model.safetensors")


def test_run_ends_in_an_export_that_encodes(web: Path, tmp_path: Path) -> None:
    train(config_of(web, tmp_path))
    encoder = load_encoder(tmp_path / "export")
    assert encoder.encode_images([Image.new("RGB", (20, 16), "red")]).shape == (1, 128)
    facts = json.loads((tmp_path / "done.json").read_text())
    assert facts["num_updates"] == 4
    assert facts["audit"]["drawn"] == 24


def test_the_export_carries_a_card_for_the_hub(web: Path, tmp_path: Path) -> None:
    train(config_of(web, tmp_path))
    card = (tmp_path / "export" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("open_clip", "zero-shot-image-classification")
    facts = json.loads((tmp_path / "done.json").read_text())
    rows = {cells[1].strip(): cells[2].strip() for line in card.splitlines() if len(cells := line.split("|")) > 3}
    counts = {name: int(rows[name]) for name in ("original", "recaption")}
    assert counts == {name: source["count"] for name, source in facts["audit"]["sources"].items()}
    assert rows["fingerprint of keys and captions"] == facts["audit"]["keys_fingerprint"]


def test_finished_run_is_left_alone(web: Path, tmp_path: Path) -> None:
    train(config_of(web, tmp_path))
    before = (tmp_path / "export" / "open_clip_model.safetensors").stat().st_mtime_ns
    train(config_of(web, tmp_path))
    assert (tmp_path / "export" / "open_clip_model.safetensors").stat().st_mtime_ns == before


def test_stopped_run_continues_to_the_same_weights(web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import clip_train.train as module

    undisturbed = config_of(web, tmp_path / "whole")
    train(undisturbed)
    real = module.bound_logit_scale

    def stop_after_three(step: int, model: torch.nn.Module, ema: object) -> dict[str, float]:
        if step == 3:
            raise KeyboardInterrupt
        return dict(real(step, model, ema))

    monkeypatch.setattr(module, "bound_logit_scale", stop_after_three)
    stopped = config_of(web, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    assert not (tmp_path / "stopped" / "done.json").exists()
    monkeypatch.setattr(module, "bound_logit_scale", real)
    train(stopped)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_microbatches_leave_the_gradients_as_they_are(web: Path, tmp_path: Path) -> None:
    # Of the foundation: batch statistics make a ResNet's features depend on the microbatch.
    loop = {"num_updates": 2, "batch_size": 6, "learning_rate": 1e-3, "epsilon": 1e-3, "wandb": "off"}
    model = {"model": "foundation", "vocab_size": 600}
    train(config_of(web, tmp_path / "one", **model, loop=LoopConfig(**loop)))
    train(config_of(web, tmp_path / "three", **model, loop=LoopConfig(**loop, microbatch_size=2)))
    one, three = weights(tmp_path / "one"), weights(tmp_path / "three")
    # Sums run in another order, in float32; the large epsilon keeps AdamW from blowing such differences up.
    assert all(torch.allclose(one[name], three[name], atol=1e-5) for name in one)


def test_learns_to_tell_colours_apart(web: Path, tmp_path: Path) -> None:
    loop = LoopConfig(num_updates=60, batch_size=6, learning_rate=2e-3, precision="bf16", wandb="off")
    train(config_of(web, tmp_path, loop=loop))
    encoder = load_encoder(tmp_path / "export")
    images = encoder.encode_images([Image.new("RGB", (20, 16), colour) for colour in COLOURS])
    texts = encoder.encode_texts([f"shop {colour}" for colour in COLOURS])
    assert ((images @ texts.T).argmax(dim=1) == torch.arange(6)).float().mean() > 0.8


def test_arms_given_the_same_tokenizer_data_share_a_tokenizer(web: Path, tmp_path: Path) -> None:
    shared = DataConfig(shards=web / "shards", sidecars={"recaption": web / "recaption"})
    originals = DataConfig(shards=web / "shards")
    files = {}
    for name, changes in {"own": {}, "shared": {"tokenizer_data": shared}}.items():
        train(config_of(web, tmp_path / name, data=originals, mix=CaptionMixConfig(original_share=1.0), **changes))
        files[name] = (tmp_path / name / "export" / "tokenizer.json").read_text()
    train(config_of(web, tmp_path / "mixed", tokenizer_data=shared))
    assert (tmp_path / "mixed" / "export" / "tokenizer.json").read_text() == files["shared"] != files["own"]


def test_tokenizer_knows_both_sources(web: Path, tmp_path: Path) -> None:
    train(config_of(web, tmp_path))
    vocabulary = (tmp_path / "export" / "tokenizer.json").read_text()
    assert '"shop"' in vocabulary and '"plain"' in vocabulary


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size_px": 20}, r"image_size_px.*found 20, wanted a positive multiple of the model's patch size, 16"),
        ({"crop_area_min": 0.0}, r"crop_area_min.*found 0.0, wanted a share in \(0, 1\]"),
        ({"context_length": 2}, r"context_length.*found 2, wanted 3 or more"),
        ({"vocab_size": 10}, r"vocab_size.*found 10, wanted 300 or more"),
        ({"model": "vit"}, r"unknown model: found vit, wanted one of s_small"),
    ],
)
def test_wrong_settings_are_refused(web: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(web, tmp_path, **changes)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.sidecars.recaption", "nowhere"], "sidecar of shard 00000 is missing"),
        (["--data.shards", "nowhere"], "nowhere"),
    ],
)
def test_inputs_that_are_not_there_are_named(web: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(config_of(web, tmp_path / "run")))
    with pytest.raises(UserError, match=message):
        main(["--config", str(tmp_path / "config.yaml"), *flags])


def test_caption_source_that_is_not_there_is_named(
    web: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(config_of(web, tmp_path / "run")))
    with pytest.raises(SystemExit, match="2"):
        main(["--config", str(tmp_path / "config.yaml"), "--mix.others", "{rewrite: 1.0}"])
    assert "caption source rewrite does not exist" in capsys.readouterr().err


def test_mistake_on_the_command_line_ends_in_one_line(web: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(config_of(web, tmp_path / "run")))
    command = [sys.executable, "-m", "clip_train", "--config", str(tmp_path / "config.yaml"), "--modle", "b_base"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "modle" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
