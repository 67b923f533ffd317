"""Two stages as one run: low resolution, then high, killed anywhere and continued."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch

import clip_train.train as module
from clip_train.config import ClipTrainConfig, FinetuneConfig
from clip_train.train import train
from imagetext.stream import DataConfig
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from tests.clip_train.test_model_files import small
from tests.clip_train.test_train import config_of, web, weights

__all__ = ["web"]


def two_stages(web: Path, folder: Path, model: Path, **changes: object) -> ClipTrainConfig:
    loop = LoopConfig(num_updates=3, batch_size=6, learning_rate=1e-4, checkpoint_every_updates=2, wandb="off")
    finetune = FinetuneConfig(image_size_px=64, context_length=14, loop=loop)
    return config_of(web, folder, model=str(model), finetune=finetune, **changes)


@pytest.fixture(scope="module")
def trained(web: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClipTrainConfig, Path]:
    folder = tmp_path_factory.mktemp("stages")
    config = two_stages(web, folder / "run", small("Recap-CLIP-B-16", folder))
    train(config)
    return config, folder


def test_second_stage_goes_on_from_the_first_at_its_own_sizes(trained: tuple[ClipTrainConfig, Path]) -> None:
    config, _ = trained
    facts = json.loads((config.output_dir / "done.json").read_text())
    assert {name: stage["num_updates"] for name, stage in facts["stages"].items()} == {"pretrain": 4, "finetune": 3}
    before, after = weights(config.output_dir / "stages" / "pretrain"), weights(config.output_dir)
    assert before["visual.positional_embedding"].shape[0] == 5
    assert after["visual.positional_embedding"].shape[0] == 17
    assert after["positional_embedding"].shape[0] == 14
    # AdamW moves a weight by about the learning rate in an update: three leave it near where the first stage ended.
    moved = (after["visual.conv1.weight"] - before["visual.conv1.weight"]).abs().max()
    assert 0 < moved < 1e-3
    published = open_clip.create_model(f"local-dir:{config.output_dir / 'export'}")
    assert published.visual.image_size == (64, 64)
    assert torch.equal(published.state_dict()["visual.proj"], after["visual.proj"])


def test_stages_see_different_orders(trained: tuple[ClipTrainConfig, Path]) -> None:
    first, second = trained[0].stages()
    assert first.seed != second.seed
    facts = json.loads((trained[0].output_dir / "done.json").read_text())["stages"]
    assert facts["pretrain"]["audit"]["drawn"] == 24 and facts["finetune"]["audit"]["drawn"] == 18


def test_finished_run_is_left_alone(trained: tuple[ClipTrainConfig, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", lambda **_: pytest.fail("nothing is left to train"))
    train(trained[0])


@pytest.mark.parametrize("stop_at", [3, 6])
def test_stopped_in_either_stage_it_ends_in_the_same_weights(
    web: Path, trained: tuple[ClipTrainConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    config = replace(trained[0], output_dir=tmp_path / "run")
    real, calls = module.bound_logit_scale, []

    def stop(step: int, model: torch.nn.Module, ema: object) -> dict[str, float]:
        calls.append(step)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return dict(real(step, model, ema))

    monkeypatch.setattr(module, "bound_logit_scale", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(module, "bound_logit_scale", real)
    train(config)
    expected, found = weights(trained[0].output_dir), weights(tmp_path / "run")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_may_start_from_another_runs_weights_and_tokenizer(
    web: Path, trained: tuple[ClipTrainConfig, Path], tmp_path: Path
) -> None:
    folder = trained[0].output_dir
    tokenizer = tmp_path / "words"
    shutil.copytree(folder / "stages" / "pretrain" / "tokenizer", tokenizer)
    config = config_of(
        web,
        tmp_path / "run",
        num_updates=1,
        model=trained[0].model,
        tokenizer=str(tokenizer),
        start_from=folder / "stages" / "pretrain" / "export",
    )
    train(config)
    before, after = weights(folder / "stages" / "pretrain"), weights(tmp_path / "run")
    moved = max((after[name] - before[name]).abs().max().item() for name in before)
    assert 0 < moved < 2e-3
    assert (tmp_path / "run" / "export" / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_openai_tokenizer_needs_no_files(web: Path, tmp_path: Path) -> None:
    model = json.loads(small("Recap-CLIP-B-16", tmp_path).read_text())
    model["text_cfg"] = {"context_length": 12, "width": 32, "heads": 2, "layers": 1}
    (tmp_path / "openai.json").write_text(json.dumps(model))
    train(config_of(web, tmp_path / "run", num_updates=1, model=str(tmp_path / "openai.json"), tokenizer="openai"))
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'run' / 'export'}")(["a red house"])
    assert ids.shape == (1, 12) and ids.max() == 49407
    assert weights(tmp_path / "run")["token_embedding.weight"].shape[0] == 49408


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"finetune": {"image_size_px": 50}},
            r"image_size_px.*found 50, wanted a positive multiple of .* patch size, 16",
        ),
        ({"tokenizer": "openai", "tokenizer_data": True}, r"tokenizer_data: nobody would read it"),
        ({"tokenizer": "nowhere"}, r"nowhere: folder holds no tokenizer"),
        ({"start_from": Path("nowhere")}, r"start_from: no weights to start from: found nowhere"),
    ],
)
def test_wrong_settings_are_refused(web: Path, tmp_path: Path, changes: dict, message: str) -> None:
    model = small("Recap-CLIP-B-16", tmp_path)
    if "finetune" in changes:
        changes = {
            "finetune": FinetuneConfig(
                **changes["finetune"], loop=LoopConfig(num_updates=1, batch_size=6, learning_rate=1e-3)
            )
        }
    if "tokenizer_data" in changes:
        changes = {**changes, "tokenizer_data": DataConfig(shards=web / "shards")}
    with pytest.raises(UserError, match=message):
        train(config_of(web, tmp_path / "run", model=str(model), **changes))
