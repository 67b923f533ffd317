import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dit_train.building import build_source, build_task, build_transformer, open_frozen
from dit_train.config import DitTrainConfig
from dit_train.encode_config import EncodeConfig
from dit_train.encoding import encode_shards
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.preview_config import PreviewConfig
from dit_train.sampler import SamplingConfig, load_sampler
from dit_train.sizes import SIZES, Size
from dit_train.task import to_unit_range
from dit_train.train import train
from imagetext.mix import CaptionMixConfig
from imagetext.stream import DataConfig
from runtime.ema import Ema
from runtime.errors import UserError
from runtime.loop import LoopConfig, fit
from runtime.run import Run
from runtime.seeds import torch_generator
from tests.fakes import run_distributed

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
    losses = [lines[-1][f"loss/source/{name}"] for name in ("original", "recaption", "empty")]
    assert sum(loss * share for loss, share in zip(losses, shares, strict=True)) == pytest.approx(lines[-1]["loss"])
    assert (lines[-1]["truncated/original"], lines[-1]["truncated/recaption"]) == (0, 0)
    before = (config.output_dir / "export" / "model_index.json").stat().st_mtime_ns
    train(config)  # a finished run is left alone
    assert (config.output_dir / "export" / "model_index.json").stat().st_mtime_ns == before


def stop_after(num_updates: int, config: DitTrainConfig) -> None:
    """Train as `train` does, and die right after a checkpoint."""

    def die(updates_done: int, model: torch.nn.Module, ema: Ema | None) -> dict[str, float]:
        if updates_done > num_updates:
            raise KeyboardInterrupt
        return {}

    frozen = open_frozen(config)
    with pytest.raises(KeyboardInterrupt):
        fit(
            task=build_task(config, frozen),
            model=build_transformer(config, frozen),
            source=build_source(config, frozen),
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
    frozen = open_frozen(config)
    history = [{name: value.clone() for name, value in build_transformer(trained, frozen).named_parameters()}]

    def remember(updates_done: int, model: torch.nn.Module, ema: Ema | None) -> dict[str, float]:
        history.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return {}

    fit(
        task=build_task(trained, frozen),
        model=build_transformer(trained, frozen),
        source=build_source(trained, frozen),
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
    frozen = open_frozen(config)
    torch.manual_seed(0)
    first = build_transformer(config, frozen).patch_in.weight
    torch.manual_seed(1)
    assert torch.equal(build_transformer(config, frozen).patch_in.weight, first)
    assert not torch.equal(build_transformer(replace(config, seed=1), frozen).patch_in.weight, first)


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


@pytest.fixture
def latent_config(config: DitTrainConfig, vae_folder: Path, tmp_path: Path) -> DitTrainConfig:
    """Train on latents of the same web, mirrored, on the path that DiT took."""
    latents = tmp_path / "latents"
    encode_shards(
        EncodeConfig(
            shards=config.data.shards,
            vae=vae_folder,
            output_dir=latents,
            image_size_px=16,
            mirrored=True,
            batch_size=8,
            device="cpu",
        )
    )
    return replace(
        config,
        vae=vae_folder,
        latents=latents,
        flip=True,
        predicts_image=False,
        noise=NoiseConfig(),
        objective=ObjectiveConfig(path="ddpm", prediction="epsilon", learned_sigma=True),
    )


def test_a_run_on_latents_ends_in_a_pipeline_that_draws_images(latent_config: DitTrainConfig, tmp_path: Path) -> None:
    train(latent_config)
    sampler = load_sampler(latent_config.output_dir / "export", device="cpu")
    assert (sampler.transformer.in_channels, sampler.transformer.out_channels) == (4, 8)
    images = sampler.generate(["a red square"], ["0"], SamplingConfig(num_steps=2), seed=0)
    assert images.shape == (1, 16, 16, 3)
    stopped = replace(latent_config, output_dir=tmp_path / "stopped")
    stop_after(5, stopped)
    train(stopped)
    first, second = weights(latent_config.output_dir), weights(stopped.output_dir)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_latents_serve_the_captions_that_images_would(latent_config: DitTrainConfig) -> None:
    of_pixels = replace(latent_config, latents=None, vae=None)
    frozen = open_frozen(latent_config)
    stored, decoded = (build_source(each, open_frozen(each)) for each in (latent_config, of_pixels))
    (batch,), (same,) = next(iter(stored.updates(3))), next(iter(decoded.updates(3)))
    assert (batch.keys, batch.texts, batch.sources) == (same.keys, same.texts, same.sources)
    assert (batch.images.dtype, batch.images.shape) == (torch.bfloat16, (6, 8, 8, 8))
    assert frozen.autoencoder is not None
    wanted = frozen.autoencoder.encode(to_unit_range(same.images))
    # Stored in eight bits of mantissa, and encoded in batches of another size.
    torch.testing.assert_close(batch.images.float(), wanted, rtol=2**-8, atol=1e-5)
    assert stored.fingerprint() != decoded.fingerprint()


def test_the_posterior_is_drawn_anew_in_every_update(latent_config: DitTrainConfig) -> None:
    frozen = open_frozen(latent_config)
    task, (batch,) = build_task(latent_config, frozen), next(iter(build_source(latent_config, frozen).updates(0)))

    def clean(seed: int) -> torch.Tensor:
        return task._clean(batch.images, task.draw(batch.images.shape, torch_generator(seed)))

    assert torch.equal(clean(0), clean(0))
    drawn = torch.stack([clean(seed) for seed in range(400)])
    means, log_variances = batch.images.float().chunk(2, 1)
    assert frozen.autoencoder is not None
    scale = frozen.autoencoder.scaling_factor
    torch.testing.assert_close(drawn.mean((0, 2, 3, 4)), scale * means.mean((1, 2, 3)), rtol=0.05, atol=0.01)
    torch.testing.assert_close(drawn.std(0).mean(), scale * (0.5 * log_variances).exp().mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": None}, "half of what latents need"),
        ({"predicts_image": True}, "a velocity of the straight path"),
        ({"noise": NoiseConfig(shift=2.0)}, "the steps of path ddpm are drawn evenly"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(
    latent_config: DitTrainConfig, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        replace(latent_config, **change)  # type: ignore[arg-type]


def test_a_latent_without_whole_patches_is_refused(latent_config: DitTrainConfig) -> None:
    with pytest.raises(UserError, match=r"latent does not divide into patches.*found 24, wanted a multiple of 16"):
        open_frozen(replace(latent_config, image_size_px=24))


def audited_on_rank(rank: int, config: DitTrainConfig) -> None:
    train(config)


@pytest.mark.slow
def test_two_ranks_audit_what_one_process_does(web: Path, text_encoder_folder: Path, tmp_path: Path) -> None:
    """Each rank counts what it served itself, and the run's facts hold the sum."""
    audits = []
    for name, num_ranks in (("one", 1), ("two", 2)):
        config = make_config(web, text_encoder_folder, tmp_path / name, num_updates=3, device="cpu")
        if num_ranks == 1:
            train(config)
        else:
            run_distributed(audited_on_rank, num_ranks, config)
        audits.append(json.loads((tmp_path / name / "done.json").read_text())["audit"])
    assert audits[0]["drawn"] == 18
    assert audits[1] == audits[0]


def test_sheets_are_drawn_on_the_way_and_change_nothing(config: DitTrainConfig, tmp_path: Path) -> None:
    train(config)
    sampling = SamplingConfig(num_steps=2)
    previews = PreviewConfig(every_updates=5, prompts=["a red square", "a blue square"], sampling=sampling)
    watched = replace(config, output_dir=tmp_path / "watched", previews=previews)
    train(watched)
    sheets = sorted((watched.output_dir / "previews").iterdir())
    assert [sheet.name for sheet in sheets] == ["0000005.png", "0000010.png", "0000012.png"]
    first, second = weights(config.output_dir), weights(watched.output_dir)
    assert all(torch.equal(first[name], second[name]) for name in first)
    # The last one shows what the exported pipeline draws from the same noise.
    sampler = load_sampler(watched.output_dir / "export", device="cpu")
    drawn = sampler.generate(previews.prompts, ["preview 0", "preview 1"], sampling, seed=config.seed)
    shown = Image.open(sheets[-1]).crop((8, 8, 168, 168))
    wanted = Image.fromarray(drawn[0].numpy()).resize((160, 160), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(shown), np.asarray(wanted))
    assert not any("preview" in line for line in (watched.output_dir / "metrics.jsonl").read_text().splitlines())


def test_sheets_need_prompts() -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        PreviewConfig(every_updates=5)
