"""Every number that a run logs, against what its batches hold."""

import io
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from clip_train.architecture import build_model, model_config
from clip_train.compute import ClipCost
from clip_train.config import ClipTrainConfig
from clip_train.presets import find_model
from clip_train.text import open_tokenizer
from clip_train.train import build_source, build_task, train
from imagetext.loader import ImageTextBatch
from imagetext.mix import CaptionMixConfig
from imagetext.shards import ShardRow, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig
from runtime import recorder
from runtime.intervals import share_interval
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from tests.clip_train.test_several_captions import reference

NUM_UPDATES, PEAK = 5, 1e12
MIXES = {
    "one": CaptionMixConfig(original_share=0.5),
    "two": CaptionMixConfig(original_share=0.5, also=["recaption_random_sentence"]),
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 20 samples, one of which is no image; some captions are longer than the context."""
    folder = tmp_path_factory.mktemp("log")
    rows, recaptions = [], []
    for index in range(20):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 16), (12 * index, 40, 90)).save(buffer, "PNG")
        key = f"{index:09d}"
        image = b"no image" if index == 7 else buffer.getvalue()
        rows.append(ShardRow(key=key, image=image, extension="png", caption=f"shop {index}", metadata={}))
        recaptions.append({"key": key, "re_caption": f"A picture. {'It is plain. ' * (index % 5)}"})
    write_shard(folder / "shards", 0, rows)
    write_sidecar(folder / "recaption", "00000", recaptions)
    return folder


def trained(
    web: Path, folder: Path, mix: CaptionMixConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[ClipTrainConfig, list[ImageTextBatch]]:
    """Train with a known peak of the machine; return the config and each update's batch."""
    config = ClipTrainConfig(
        output_dir=folder,
        data=DataConfig(shards=web / "shards", sidecars={"recaption": web / "recaption"}, max_bad_share=0.5),
        mix=mix,
        model="s_small",
        image_size_px=32,
        context_length=12,
        vocab_size=300,
        loop=LoopConfig(
            num_updates=NUM_UPDATES, batch_size=8, learning_rate=1e-3, log_every_updates=1, device="cpu", wandb="off"
        ),
    )
    monkeypatch.setattr(recorder, "peak_flops_per_second", lambda *_: PEAK)
    train(config)
    tokenizer = open_tokenizer(folder / "tokenizer", find_model("s_small"), 12).tokenizer
    updates = islice(build_source(config, tokenizer).updates(0), NUM_UPDATES)
    return config, [batch for (batch,) in updates]


def captions_of(batch: ImageTextBatch) -> list[tuple[str, int, bool]]:
    """Return each caption's source, its tokens and whether it was cut off."""
    return [
        caption
        for group in (batch, *batch.further)
        for caption in zip(group.sources, group.token_lengths.tolist(), group.truncated.tolist(), strict=True)
    ]


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_lines_say_what_the_batches_hold(
    web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: CaptionMixConfig
) -> None:
    config, batches = trained(web, tmp_path, mix, monkeypatch)
    lines = list(JsonLines(tmp_path / "metrics.jsonl").rows())
    num_skipped = 0
    for line, batch in zip(lines, batches, strict=True):
        captions = captions_of(batch)
        parts = []
        for source in {source for source, _, _ in captions}:
            lengths = [length for name, length, _ in captions if name == source]
            cut = [was_cut for name, _, was_cut in captions if name == source]
            share = share_interval(len(lengths), len(captions))
            logged = [line[f"{name}/{source}"] for name in ("share", "share_low", "share_high")]
            assert logged == pytest.approx([share.value, share.low, share.high])
            assert line[f"tokens/{source}"] == pytest.approx(sum(lengths) / len(lengths))
            assert line[f"truncated/{source}"] == pytest.approx(sum(cut) / len(cut))
            parts.append(line[f"share/{source}"] * line[f"loss/{source}"])
        assert sum(parts) == pytest.approx(line["loss"], rel=1e-5)
        num_skipped += 8 - len(batch)
        assert line.get("skipped/not_an_image", 0) == num_skipped
    assert num_skipped > 0 and any(line.get("truncated/recaption") for line in lines)
    assert lines[0]["loss"] == pytest.approx(loss_at_first(config, batches[0]), rel=1e-5)


def loss_at_first(config: ClipTrainConfig, batch: ImageTextBatch) -> float:
    """Return the loss that the untrained model has on a batch, pair by pair."""
    architecture = architecture_of(config)
    model = build_model(architecture, config.seed).train()
    features = build_task(config).features(model, batch, 0, torch.Generator())
    texts = features["texts"] if features["texts"].ndim == 3 else features["texts"][:, None]
    wide = [one.detach().double() for one in (features["images"], texts, features["logit_scale"])]
    return reference(*wide, torch.zeros(()), "softmax", "multi_positive").item() / len(batch)


def architecture_of(config: ClipTrainConfig) -> dict:
    read = open_tokenizer(config.output_dir / "tokenizer", find_model("s_small"), 12)
    return model_config(
        find_model("s_small"), image_size_px=32, vocab_size=read.tokenizer.vocab_size, context_length=12
    )


def test_rates_come_from_the_tokens_that_were_there(web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, batches = trained(web, tmp_path, MIXES["two"], monkeypatch)
    cost = ClipCost(architecture_of(config))
    for line, batch in zip(JsonLines(tmp_path / "speed.jsonl").rows(), batches, strict=True):
        lengths = [length for _, length, _ in captions_of(batch)]
        seconds = 8 / line["samples_per_second"]
        assert line["images_per_second"] * seconds == pytest.approx(len(batch))
        assert line["tokens_per_second"] * seconds == pytest.approx(sum(lengths))
        flops = 3 * (len(batch) * cost.image_flops + sum(cost.text_flops(length) for length in lengths))
        assert line["flops_per_second"] * seconds == pytest.approx(flops)
        assert line["mfu"] == pytest.approx(line["flops_per_second"] / PEAK)
        assert 0 <= line["waiting_share"] <= 1
