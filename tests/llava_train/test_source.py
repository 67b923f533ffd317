"""What a phase reads: the same for any ranks, workers, resume points and places of pictures; bad samples counted."""

import json
import os
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagetext.conversations import Conversation, Rendered
from imagetext.rendering_errors import RenderingError
from imagetext.shards import ShardRow, make_key, write_shard
from llava_train import source as module
from llava_train.batch import ConversationBatch, collate
from llava_train.config import FineTuneConfig, ShortFirstConfig
from llava_train.corpus import PhaseConversations, files_of, open_pictures, read_corpus
from llava_train.order import epoch_order
from llava_train.pixels import PixelGeometry
from llava_train.source import ConversationSource, approximate_lengths
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from tests.llava_train import tiny
from tests.processes import descendants

NUM_IMAGES, NUM_TEXTS = 20, 7
GEOMETRY = PixelGeometry(image_size_px=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def render(record: Conversation) -> Rendered:
    """Spell a conversation letter by letter, answers supervised."""
    ids, labels = [], []
    for turn in record.turns:
        letters = [1 + ord(letter) % 500 for letter in turn.text]
        ids += letters
        labels += letters if turn.role == "assistant" else [-100] * len(letters)
    return Rendered(ids, labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of conversations about pictures (`pictures.json`) and of text alone (`text.jsonl`)."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images" / "coco").mkdir(parents=True)
    records = []
    for number in range(NUM_IMAGES):
        image = Image.new("RGB", (8 + number, 12), (10 * number, 40, 250 - 10 * number))
        image.save(folder / "images" / "coco" / f"{number:03d}.png")
        records.append(said(number, f"coco/{number:03d}.png"))
    (folder / "pictures.json").write_text(json.dumps(records))
    lines = [json.dumps(said(f"text-{number}", None)) for number in range(NUM_TEXTS)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    return folder


def said(identity: int | str, image: str | None) -> dict[str, object]:
    mark, fields = ("", {}) if image is None else ("<image>\n", {"image": image})
    words = "word " * (1 + len(str(identity)) + hash_of(identity) % 9)
    turns = [{"from": "human", "value": f"{mark}What of {identity}?"}, {"from": "gpt", "value": words.strip()}]
    return {"id": identity, **fields, "conversations": turns}


def hash_of(identity: int | str) -> int:
    return sum(map(ord, str(identity)))


def source(data: Path, cache: Path, **options: Any) -> ConversationSource:
    """A source over both files in batches of 6, microbatches of 3."""
    given = {"num_workers": 0, "weights": None, "max_bad_share": 0.01, "short_first": None, **options}
    config = with_data(data, cache, given["weights"], given.get("conversations", ["pictures.json", "text.jsonl"]))
    corpus = read_corpus(config)
    return ConversationSource(
        conversations=corpus["detail"],
        pictures=open_pictures(config, files_of(corpus)),
        render=given.get("render", render),
        collate=partial(collate, pad_id=0),
        geometry=GEOMETRY,
        num_image_tokens=given.get("num_image_tokens", 4),
        loop=LoopConfig(num_updates=9, batch_size=6, microbatch_size=3, learning_rate=1.0),
        max_bad_share=given["max_bad_share"],
        seed_parts=(0, "detail"),
        short_first=given["short_first"],
        num_workers=given["num_workers"],
    )


def with_data(data: Path, cache: Path, weights: Sequence[float] | None, conversations: Sequence[str]) -> FineTuneConfig:
    base = tiny.config(data, cache)
    phase = replace(
        base.detail,
        conversations=list(conversations),
        weights=None if weights is None else list(weights),
        short_first=None,
    )
    return replace(base, data=data, phases=["detail"], detail=phase)


def flat(one: ConversationSource, start: int, num_updates: int, rank: int = 0, world: int = 1) -> list[Any]:
    updates = islice(one.updates(start, rank=rank, world_size=world), num_updates)
    return [batch for update in updates for batch in update]


def assert_same(left: Sequence[ConversationBatch], right: Sequence[ConversationBatch]) -> None:
    assert [batch.keys for batch in left] == [batch.keys for batch in right]
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.input_ids, other.input_ids) and torch.equal(one.labels, other.labels)
        assert (one.images is None) == (other.images is None)
        assert one.images is None or torch.equal(one.images, other.images)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing(data: Path, tmp_path: Path, num_workers: int) -> None:
    plain, many = source(data, tmp_path), source(data, tmp_path, num_workers=num_workers)
    assert_same(flat(many, 2, 12), flat(plain, 2, 12))
    assert many.audit() == plain.audit() and many.state_dict() == plain.state_dict()


def test_ranks_share_an_update_and_resume_continues_it(data: Path, tmp_path: Path) -> None:
    whole = flat(source(data, tmp_path), 0, 10)
    assert_same(flat(source(data, tmp_path, num_workers=2), 4, 6), whole[8:])
    ranks = [source(data, tmp_path).updates(0, rank=rank, world_size=2) for rank in (0, 1)]
    assert_same([batch for _ in range(10) for rank in ranks for batch in next(rank)], whole)


def test_every_epoch_mixes_all_texts_in_exactly_once(data: Path, tmp_path: Path) -> None:
    num_records = NUM_IMAGES + NUM_TEXTS
    keys = [key for batch in flat(source(data, tmp_path), 0, 9) for key in batch.keys]
    wanted = sorted([str(number) for number in range(NUM_IMAGES)] + [f"text-{number}" for number in range(NUM_TEXTS)])
    assert sorted(keys[:num_records]) == sorted(keys[num_records : 2 * num_records]) == wanted
    batches = flat(source(data, tmp_path), 0, 9)
    assert {len(batch.keys) - (0 if batch.images is None else len(batch.images)) for batch in batches} > {0}


def test_weights_thin_and_repeat_files(data: Path, tmp_path: Path) -> None:
    weighted = source(data, tmp_path, weights=[0.5, 2.0])
    keys = [key for batch in flat(weighted, 0, 8) for key in batch.keys]
    epochs = keys[:24], keys[24:48]
    for epoch in epochs:
        texts = sorted(key for key in epoch if key.startswith("text"))
        assert texts == sorted([f"text-{number}" for number in range(NUM_TEXTS)] * 2)
    assert sorted(key for epoch in epochs for key in epoch if not key.startswith("text")) == sorted(
        str(number) for number in range(NUM_IMAGES)
    )
    assert weighted.fingerprint() != source(data, tmp_path).fingerprint()
    even = source(data, tmp_path, weights=[1.0, 1.0])
    assert even.fingerprint() == source(data, tmp_path).fingerprint()
    assert_same(flat(even, 0, 9), flat(source(data, tmp_path), 0, 9))


@pytest.mark.parametrize("naming", ["{tar}/{key}", "{tar}/{key}.png", "{key}"])
def test_pictures_in_shards_read_as_those_in_folders(data: Path, tmp_path: Path, naming: str) -> None:
    packed = tmp_path / "packed"
    images = packed / "images"
    records = json.loads((data / "pictures.json").read_text())
    for shard in (0, 1):
        part = records[shard::2]
        encoded = [(data / "images" / record["image"]).read_bytes() for record in part]
        rows = [
            ShardRow(key=make_key(shard, row), image=image, extension="png", caption="")
            for row, image in enumerate(encoded)
        ]
        write_shard(images, shard, rows)
        for row, record in enumerate(part):
            record["image"] = naming.format(tar=f"{shard:05d}.tar", key=make_key(shard, row))
    (packed / "pictures.json").write_text(json.dumps(records))
    (packed / "text.jsonl").write_bytes((data / "text.jsonl").read_bytes())
    folder = flat(source(data, tmp_path / "a"), 0, 9)
    for num_workers in (0, 2):
        shards = source(packed, tmp_path / "b", num_workers=num_workers)
        shards.refuse_missing_pictures()
        assert_same(flat(shards, 0, 9), folder)


@pytest.fixture
def damaged(data: Path, tmp_path: Path) -> Path:
    """The data with two pictures missing and one that is none."""
    folder = tmp_path / "damaged"
    shutil.copytree(data, folder)
    for number in (3, 11):
        (folder / "images" / "coco" / f"{number:03d}.png").unlink()
    (folder / "images" / "coco" / "005.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_pictures_leave_holes_and_are_counted_by_reason(
    data: Path, damaged: Path, tmp_path: Path, num_workers: int
) -> None:
    holed = source(damaged, tmp_path, num_workers=num_workers)
    holed.refuse_missing_pictures()
    keys = [batch.keys for batch in flat(holed, 0, 9)]
    whole = [batch.keys for batch in flat(source(data, tmp_path), 0, 9)]
    assert keys == [tuple(key for key in batch if key not in ("3", "5", "11")) for batch in whole]
    assert holed.audit() == {
        "num_samples": NUM_IMAGES + NUM_TEXTS,
        "drawn": 54,
        "skipped_samples": {"missing": 2, "not_an_image": 1},
    }
    continued = source(damaged, tmp_path, num_workers=num_workers)
    flat(continued, 0, 4)
    state, later = continued.state_dict(), source(damaged, tmp_path, num_workers=num_workers)
    later.load_state_dict([state])
    flat(later, 4, 5)
    assert later.audit() == holed.audit()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_budget_ends_in_the_same_words_for_any_number_of_workers(
    damaged: Path, tmp_path: Path, num_workers: int
) -> None:
    poor = source(damaged, tmp_path, max_bad_share=0.002, num_workers=num_workers)
    with pytest.raises(UserError) as refusal:
        flat(poor, 0, 9)
    said = str(refusal.value)
    assert said.startswith(f"{damaged / 'images'}: too many bad samples, the last '")
    assert said.endswith("found 3 of 27, wanted at most 0.2%. Repair the data, or raise max_bad_share.")


def test_one_of_many_ranks_stops_when_more_of_its_own_part_is_bad(data: Path, tmp_path: Path) -> None:
    """Ranks do not hear of each other's bad samples, and still may not lose many times what one process may."""

    def render_none(record: Conversation) -> Rendered:
        raise RenderingError("text holds a special token", reason="special_token")

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "many.jsonl").write_text("\n".join(json.dumps(said(number, None)) for number in range(4000)))
    options = {"conversations": ["many.jsonl"], "render": render_none, "max_bad_share": 0.01}
    # 1 % of the part, and three standard deviations of it; in all 40 may be bad.
    found = r"found 20 of the 1000 that are read by one of 4 processes, wanted at most 1\.0%"
    with pytest.raises(UserError, match=found):
        flat(source(tmp_path / "data", tmp_path, **options), 0, 40, rank=1, world=4)


def test_counts_of_all_ranks_make_one_audit(damaged: Path, tmp_path: Path) -> None:
    whole, ranks = source(damaged, tmp_path), [source(damaged, tmp_path) for _ in range(2)]
    flat(whole, 0, 9)
    for rank, one in enumerate(ranks):
        flat(one, 0, 9, rank=rank, world=2)
    assert ranks[0].audit() != whole.audit()
    ranks[0].load_state_dict([one.state_dict() for one in ranks])
    assert ranks[0].audit() == whole.audit()


def test_a_text_stands_beside_pictures_of_as_many_tokens(data: Path, tmp_path: Path) -> None:
    """Not beside those of as many letters: it would be padded by a picture's tokens."""
    num_mixed = []
    for num_image_tokens in (0, 500):
        batches = flat(source(data, tmp_path, num_image_tokens=num_image_tokens), 0, 4)
        num_mixed.append(sum(batch.images is not None and len(batch.images) < len(batch.keys) for batch in batches))
    # The first epoch's 20 pictures and 7 texts in microbatches of 3: apart, at most one holds both.
    assert num_mixed[0] > 1 >= num_mixed[1]


@pytest.mark.parametrize("about_images", [True, False])
def test_samples_that_all_have_a_picture_or_none_keep_the_order_of_their_letters(about_images: bool) -> None:
    num_characters = np.random.default_rng(0).integers(5, 60, 400).astype(np.int32)
    lengths = approximate_lengths(num_characters, np.full(400, about_images), 576)
    assert epoch_order(lengths, 8, 0, "detail", epoch=1).tolist() == (
        epoch_order(num_characters, 8, 0, "detail", epoch=1).tolist()
    )


def test_conversations_that_can_not_be_rendered_are_bad_samples(data: Path, tmp_path: Path) -> None:
    def render_some(record: Conversation) -> Rendered:
        if record.id == "text-3":
            raise RenderingError("text holds a special token", reason="special_token")
        return render(record)

    for num_workers in (0, 2):
        holed = source(data, tmp_path, render=render_some, num_workers=num_workers)
        assert all("text-3" not in batch.keys for batch in flat(holed, 0, 9))
        assert holed.audit()["skipped_samples"] == {"special_token": 1}


def test_pictures_that_are_all_elsewhere_are_missed_before_training(damaged: Path, tmp_path: Path) -> None:
    (damaged / "images").rename(damaged / "pictures")
    elsewhere = source(damaged, tmp_path)
    with pytest.raises(UserError) as refusal:
        elsewhere.refuse_missing_pictures()
    assert str(refusal.value) == (
        f"{damaged / 'images/coco/000.png'}: the picture of conversation '0' is missing: found 20 missing of 20 "
        "looked for, wanted at most 10. Correct data or image_folder, or fetch the pictures"
    )


def test_pictures_of_large_data_are_looked_for_by_a_spread_sample(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBED_PICTURES", 5)
    some = source(data, tmp_path, max_bad_share=0.0)
    asked: list[str] = []

    def holds(name: str) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(some._pictures, "holds", holds)
    some.refuse_missing_pictures()
    assert asked == [f"coco/{number:03d}.png" for number in (0, 4, 8, 12, 16)]


def test_a_curriculum_reads_short_answers_of_weighted_files(data: Path, tmp_path: Path) -> None:
    config = ShortFirstConfig(num_updates=3, max_answer_words=6)
    curriculum = source(data, tmp_path, short_first=config, weights=[1.0, 0.5])
    short = curriculum._conversations.num_answer_words <= 6
    assert 0 < short.sum() < len(short)
    words = {record.id: len(record.turns[1].text.split()) for record in curriculum._conversations}
    keys = [key for batch in flat(curriculum, 0, 3) for key in batch.keys]
    assert len(keys) == 18 and all(words[key] <= 6 for key in keys)
    assert any(words[key] > 6 for batch in flat(curriculum, 3, 5) for key in batch.keys)


def _lose_a_worker(data: Path, cache: Path, told: Connection) -> None:
    updates = source(data, cache, num_workers=2).updates(0, rank=0, world_size=1)
    next(updates)
    # The loader's own handler raises wherever the process is when it hears of the death: from the kill on, anywhere.
    try:
        os.kill(next(iter(descendants(os.getpid()))), signal.SIGKILL)
        for _ in range(1000):
            next(updates)
    except Exception as error:  # noqa: BLE001 - the other process tells one from another
        told.send(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_dead_worker_is_an_error_and_no_hang(data: Path, tmp_path: Path) -> None:
    context = get_context("fork")
    here, there = context.Pipe()
    trainer = context.Process(target=_lose_a_worker, args=(data, tmp_path, there))
    trainer.start()
    assert here.poll(90), "it says nothing"
    assert re.match(r"RuntimeError: DataLoader worker .*(Killed|exited unexpectedly)", here.recv())
    trainer.join()


def test_conversations_of_several_files_are_one_sequence(data: Path, tmp_path: Path) -> None:
    names = ["text.jsonl", "pictures.json", "text.jsonl"]
    both = read_corpus(with_data(data, tmp_path, None, names))["detail"]
    assert isinstance(both, PhaseConversations)
    ids = [f"text-{number}" for number in range(NUM_TEXTS)]
    assert [record.id for record in both] == [*ids, *(str(number) for number in range(NUM_IMAGES)), *ids]
    assert both.files[0] is both.files[2], "a file named twice is opened once"
    assert both[7].id == "0" and both[-1].id == "text-6" and [one.id for one in both[6:8]] == ["text-6", "0"]
    assert both.has_image.tolist() == [False] * 7 + [True] * 20 + [False] * 7
    with pytest.raises(IndexError):
        both[34]
    assert [both[place].id for place in both.spread(4)] == ["text-0", "2", "11", "text-0"]
    assert list(both.spread(34)) == list(both.spread(1000)) == list(range(34))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"weights: wrong number of weights: found 1, wanted 2, one for each file"),
        ([1.0, 0.0], r"weights: out of range: found 0\.0, wanted more than 0"),
        ([1.0, float("inf")], r"weights: out of range: found inf"),
    ],
)
def test_weights_that_mean_nothing_are_refused(data: Path, tmp_path: Path, weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_data(data, tmp_path, weights, ["pictures.json", "text.jsonl"])


def test_negative_numbers_of_workers_are_refused(data: Path, tmp_path: Path) -> None:
    config = with_data(data, tmp_path, None, ["text.jsonl"])
    with pytest.raises(UserError, match=r"num_workers: out of range: found -1, wanted 0 or more"):
        replace(config, num_workers=-1)
