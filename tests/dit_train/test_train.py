import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dit_train.config import DitTrainConfig
from dit_train.objective_config import NoiseConfig
from dit_train.sampler import SamplingConfig, load_sampler
from dit_train.sizes import SIZES, Size
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.train import build_source, build_task, build_transformer, train
from imagetext.mix import CaptionMixConfig
from imagetext.stream import DataConfig
from runtime.ema import Ema
from runtime.errors import UserError
from runtime.loop import LoopConfig, fit
from runtime.run import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "b", Size(width=32, depth=2, num_heads=2, patch_size=8))  # type: ignore[arg-type]


def make_config(web: Path, text_encoder_folder: Path, output_dir: Path, **loop: object) -> DitTrainConfig:
    settings: dict[str, object] = {
        "num_updates": 12,
        "batch_size": 6,
        "learning_rate": 1e-3,
        "ema_decay": 0.9,
        "checkpoint_every_updates": 5,
        "log_every_updates": 4,
        "wandb": "off",
    }
    return DitTrainConfig(
        output_dir=output_dir,
        data=DataConfig(shards=web / "shards", sidecars={"recaption": web / "recaptions"}),
        text_encoder=text_encoder_folder,
        loop=LoopConfig(**(settings | loop)),  # type: ignore[arg-type]
        mix=CaptionMixConfig(original_share=0.5),
        image_size_px=16,
        noise=NoiseConfig(shift=2.0),
        predicts_image=True,
        zero_init_text_out=False,
    )


def weights(output_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(output_dir / "export" / "transformer" / "diffusion_pytorch_model.safetensors")


@pytest.fixture
def config(web: Path, text_encoder_folder: Path, tmp_path: Path) -> DitTrainConfig:
    return make_config(web, text_encoder_folder, tmp_path / "run")


def test_a_run_ends_in_a_pipeline_that_draws(config: DitTrainConfig) -> None:
    train(config)
    sampler = load_sampler(config.output_dir / "export", device="cpu")
    assert sampler.scheduler.shift == 2.0
    images = sampler.generate(["a red square"], ["0"], SamplingConfig(num_steps=2), seed=0)
    assert images.shape == (1, 16, 16, 3)
    done = json.loads((config.output_dir / "done.json").read_text())
    facts = json.loads((config.output_dir / "export" / "training.json").read_text())
    assert facts["original_share"] == 0.5
    assert facts["audit"] == done["audit"]
    lines = [json.loads(line) for line in (config.output_dir / "metrics.jsonl").read_text().splitlines()]
    shares = [lines[-1][f"share/source/{name}"] for name in ("original", "recaption", "empty")]
    assert sum(shares) == pytest.approx(1)
    before = (config.output_dir / "export" / "model_index.json").stat().st_mtime_ns
    train(config)  # a finished run is left alone
    assert (config.output_dir / "export" / "model_index.json").stat().st_mtime_ns == before


def stop_after(num_updates: int, config: DitTrainConfig) -> None:
    """Train as `train` does, and die right after a checkpoint."""

    def die(updates_done: int, model: torch.nn.Module, ema: Ema | None) -> dict[str, float]:
        if updates_done > num_updates:
            raise KeyboardInterrupt
        return {}

    encoder = FrozenTextEncoder(config.text_encoder, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        fit(
            task=build_task(config, encoder),
            model=build_transformer(config, encoder),
            source=build_source(config, encoder),
            config=config.loop,
            run=Run.open(config.output_dir, config),
            seed=config.seed,
            on_update=die,
        )


def test_a_stopped_run_continues_to_the_same_bits(config: DitTrainConfig, tmp_path: Path) -> None:
    """Five updates, a stop, seven more: twelve; the stop lies within the second epoch of 24 samples."""
    train(config)
    stopped = replace(config, output_dir=tmp_path / "stopped")
    stop_after(5, stopped)
    assert not (stopped.output_dir / "export").exists()
    train(stopped)
    first, second = weights(config.output_dir), weights(stopped.output_dir)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_average_is_published(config: DitTrainConfig) -> None:
    trained = replace(config, loop=replace(config.loop, num_updates=2, ema_decay=0.75))
    encoder = FrozenTextEncoder(config.text_encoder, torch.device("cpu"))
    history = [{name: value.clone() for name, value in build_transformer(trained, encoder).named_parameters()}]

    def remember(updates_done: int, model: torch.nn.Module, ema: Ema | None) -> dict[str, float]:
        history.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return {}

    fit(
        task=build_task(trained, encoder),
        model=build_transformer(trained, encoder),
        source=build_source(trained, encoder),
        config=trained.loop,
        run=Run.open(config.output_dir.parent / "other", trained),
        seed=trained.seed,
        on_update=remember,
    )
    train(trained)
    published = weights(trained.output_dir)
    for name, start in history[0].items():
        expected = 0.75 * (0.75 * start + 0.25 * history[1][name]) + 0.25 * history[2][name]
        torch.testing.assert_close(published[name], expected.detach(), rtol=1e-5, atol=1e-7)
    assert published["patch_in.weight"].dtype == torch.float32


def test_the_initial_weights_depend_on_the_seed_alone(config: DitTrainConfig) -> None:
    encoder = FrozenTextEncoder(config.text_encoder, torch.device("cpu"))
    torch.manual_seed(0)
    first = build_transformer(config, encoder).patch_in.weight
    torch.manual_seed(1)
    assert torch.equal(build_transformer(config, encoder).patch_in.weight, first)
    assert not torch.equal(build_transformer(replace(config, seed=1), encoder).patch_in.weight, first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size_px": 20}, "image_size_px.*found 20, wanted a positive multiple of the model's patch size, 8"),
        ({"caption_dropout": 1.0}, "caption_dropout.*found 1.0, wanted a share"),
        ({"head_layers": 0}, "head_layers.*found 0, wanted 1 or more"),
    ],
)
def test_fields_out_of_range_are_refused(config: DitTrainConfig, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(config, **changes)  # type: ignore[arg-type]


def test_a_run_without_an_average_is_refused(config: DitTrainConfig) -> None:
    with pytest.raises(UserError, match=r"loop\.ema_decay: no moving average"):
        replace(config, loop=replace(config.loop, ema_decay=None))


@pytest.mark.parametrize(("field", "value"), [("shift", 0.0), ("logit_std", 0.0)])
def test_noise_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"noise.{field}.*found 0.0, wanted more than 0"):
        NoiseConfig(**{field: value})


def test_a_missing_sidecar_is_refused(config: DitTrainConfig) -> None:
    with pytest.raises(UserError, match="caption source recaption does not exist"):
        replace(config, data=DataConfig(shards=config.data.shards))


def test_the_command_line_names_a_wrong_field(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dit_train", "--output_dir", str(tmp_path), "--caption_dropuot", "0.2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "caption_dropuot" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_update_without_draws_is_refused() -> None:
    with pytest.raises(UserError, match=r"noise\.draws_per_image.*found 0, wanted 1 or more"):
        NoiseConfig(draws_per_image=0)


def test_two_ways_to_start_are_refused(config: DitTrainConfig) -> None:
    with pytest.raises(UserError, match=r"two ways to start.*zero_init_text_out"):
        replace(config, zero_init_text_out=True, text_starts_averaged=True)


def test_only_the_main_process_exports(config: DitTrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_train.train.is_main_process", lambda: False)
    train(config)
    assert not list(config.output_dir.glob("export*"))
