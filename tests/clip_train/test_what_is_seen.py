"""What a run is seen with, and in which order: the same for any ranks, workers and restarts, whatever the mix."""

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clip_train.card import model_card
from clip_train.config import ClipTrainConfig
from clip_train.presets import find_model
from clip_train.text import open_tokenizer, train_tokenizer
from clip_train.train import build_source
from imagetext.mix import CaptionMixConfig, ScoreShareConfig
from imagetext.shard_set import ShardSetConfig
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig
from runtime.config import to_yaml
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from runtime.seeds import derive
from tests.processes import descendants, is_alive, wait_until

SIZES = {"first": (5, 1, 3), "second": (2, 4, 1, 6, 2)}
"""Samples of each shard of two data sets: eight unequal shards of 24 samples."""
BATCH_SIZE, NUM_UPDATES = 6, 8
"""Two epochs."""
PLAIN = CaptionMixConfig(original_share=0.5)
EVERYTHING = CaptionMixConfig(
    original_share=0.1,
    others={"recaption": 1.0, "concat": 2.0},
    share_changes={6: 0.9},
    share_changes_unit="updates",
    share_course="linear",
    dataset_shares={"second": 0.4},
    score_share=ScoreShareConfig(temperature=0.05),
    also=["recaption_random_sentence", "original"],
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two data sets; every third recaption has no scores."""
    folder = tmp_path_factory.mktemp("seen")
    for name, sizes in SIZES.items():
        for shard, size in enumerate(sizes):
            rows, recaptions = [], []
            for row in range(size):
                key, number = make_key(shard, row), derive(name, shard, row)
                buffer = io.BytesIO()
                Image.new("RGB", (20, 16), (number % 256, 40, 90)).save(buffer, "PNG")
                caption = f"old {name} {key}"
                rows.append(ShardRow(key=key, image=buffer.getvalue(), extension="png", caption=caption, metadata={}))
                scores = {"re_clip_score": 0.2, "org_clip_score": 0.1 + 0.2 * (number % 2)} if row % 3 != 1 else {}
                text = f"New {key}. It is {name}. It is plain."
                recaptions.append({"key": key, "re_caption": text, **scores})
            write_shard(folder / name, shard, rows)
            write_sidecar(folder / f"{name}_recaption", f"{shard:05d}", recaptions)
    train_tokenizer(folder / "words", find_model("s_small"), ["old new it is plain"], 300)
    return folder


def config_of(web: Path, folder: Path, mix: CaptionMixConfig, **loop: Any) -> ClipTrainConfig:
    further = [ShardSetConfig(shards=web / "second", sidecars={"recaption": web / "second_recaption"})]
    settings = {"num_updates": NUM_UPDATES, "batch_size": BATCH_SIZE, "learning_rate": 1e-3, "wandb": "off"}
    return ClipTrainConfig(
        output_dir=folder,
        data=DataConfig(shards=web / "first", sidecars={"recaption": web / "first_recaption"}, further=further),
        mix=mix,
        model="s_small",
        image_size_px=32,
        context_length=12,
        tokenizer=str(web / "words"),
        loop=LoopConfig(**{**settings, **loop}),
    )


def seen_by(config: ClipTrainConfig, ranks: int, workers: int, restart: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the audit and every sample's pixels of a run that is stopped and started again after some updates."""
    config = replace(config, data=replace(config.data, num_workers=workers))
    tokenizer = open_tokenizer(Path(str(config.tokenizer)), find_model(config.model), 12).tokenizer
    counts: list[Any] = []
    pictures: dict[str, bytes] = {}
    for begin, end in ((0, restart), (restart, NUM_UPDATES)):
        sources = [build_source(config, tokenizer) for _ in range(ranks)]
        for rank, source in enumerate(sources):
            for _, (batch,) in zip(range(begin, end), source.updates(begin, rank=rank, world_size=ranks)):
                names = [f"{key}@{place}" for key, place in zip(batch.keys, batch.positions, strict=True)]
                pictures |= dict(zip(names, (image.numpy().tobytes() for image in batch.images), strict=True))
        counts += [source.state_dict() for source in sources]
    whole = build_source(config, tokenizer)
    whole.load_state_dict(counts)
    return whole.audit(), pictures


@pytest.mark.parametrize("mix", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_it_depends_on_neither_ranks_nor_workers_nor_restarts(web: Path, tmp_path: Path, mix: CaptionMixConfig) -> None:
    """Keys, captions and crops of two epochs; three workers on two ranks are as many as there are shards of a set."""
    ways = [(1, 0, 8), (2, 0, 8), (1, 1, 8), (1, 3, 8), (1, 0, 3), (2, 3, 5)]
    seen = [seen_by(config_of(web, tmp_path, mix), *way) for way in ways]
    audit, pictures = seen[0]
    assert audit["drawn"] == 48 and audit["distinct"] == 24
    by_epoch = Counter((int(name.partition("@")[2]) // 24, name.partition("@")[0]) for name in pictures)
    assert len(by_epoch) == 48 and set(by_epoch.values()) == {1}, "each sample once in each epoch"
    assert all(one == seen[0] for one in seen[1:])


def test_another_seed_or_mix_has_another_fingerprint(web: Path, tmp_path: Path) -> None:
    config = config_of(web, tmp_path, EVERYTHING)
    others = [replace(config, seed=1), replace(config, mix=replace(EVERYTHING, also=["original"]))]
    found = {seen_by(one, 1, 0, 8)[0]["keys_fingerprint"] for one in (config, *others)}
    assert len(found) == 3


def test_the_card_says_what_a_share_depends_on(web: Path, tmp_path: Path) -> None:
    config = config_of(web, tmp_path, EVERYTHING)
    audit = {"drawn": 1, "distinct": 1, "keys_fingerprint": "0", "sources": {}}
    card = model_card(config, 1, {"in all": 1}, audit)
    rows = facts_of(card)
    assert rows["share of original captions asked for"] == (
        "0.1; on a line to 0.9 at update 6; second: 0.4; 0 to 1 by scores of recaption, even at 0, temperature 0.05"
    )
    assert rows["further captions of every image"] == "recaption_random_sentence, original"
    plain = facts_of(model_card(replace(config, mix=PLAIN), 1, {"in all": 1}, audit))
    assert plain["share of original captions asked for"] == "0.5"
    assert "further captions of every image" not in plain


def facts_of(card: str) -> dict[str, str]:
    return {cells[1].strip(): cells[2].strip() for line in card.splitlines() if len(cells := line.split("|")) > 3}


LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(config: Path, ranks: int, workers: int, *, kill_at: int | None, folder: Path) -> None:
    """Start training; let it end, or kill all its processes once it has taken so many updates."""
    launcher = LAUNCHER if ranks == 2 else []
    command = [sys.executable, *launcher, "-m", "clip_train", "--config", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder.parent / "stderr").open("w") as log:
        process = subprocess.Popen([*command, "--data.num_workers", str(workers)], env=environment, stderr=log)
        if kill_at is None:
            assert process.wait() == 0, (folder.parent / "stderr").read_text()[-2000:]
            return
        lines = JsonLines(folder / "metrics.jsonl")
        wait_until(lambda: any(row["update"] >= kill_at for row in lines.rows()), f"update {kill_at}", 200)
        started = {process.pid, *descendants(process.pid)}
        for one in started:
            if is_alive(one):
                os.kill(one, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_updates_it_ends_as_if_it_had_not_been(web: Path, tmp_path: Path) -> None:
    """By one process and by two, with and without workers: every restart goes on with another number of them."""
    audits = []
    num_updates = 120
    loop = {"num_updates": num_updates, "checkpoint_every_updates": 7, "log_every_updates": 1, "device": "cpu"}
    starts = [derive("kill", number) % (num_updates // 3) + number * num_updates // 3 for number in range(2)]
    for name, kills in (("whole", []), ("killed", starts)):
        folder = tmp_path / name / "run"
        config = config_of(web, folder, EVERYTHING, **loop)
        file = tmp_path / f"{name}.yaml"
        file.write_text(to_yaml(config))
        folder.parent.mkdir()
        for (ranks, workers), kill_at in zip([(1, 3), (2, 1), (1, 0)][-len(kills) - 1 :], [*kills, None], strict=True):
            run(file, ranks, workers, kill_at=kill_at, folder=folder)
        audits.append(json.loads((folder / "done.json").read_text())["audit"])
    assert audits[0]["drawn"] == num_updates * BATCH_SIZE
    assert audits[1] == audits[0]
