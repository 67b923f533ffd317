"""The loader: one stream for any ranks, workers and resume points; holes, budget and audit."""

import dataclasses
import io
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagetext.loader import ImageTextBatch, MixedLoader
from imagetext.mix import CaptionMixConfig
from imagetext.shards import list_shards, read_shard, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig
from runtime.errors import UserError
from runtime.source import CountingSource
from tests.imagetext.pictures import row, write_shards
from tests.imagetext.words import WordTokenizer, crop

HALF = CaptionMixConfig(original_share=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Return 27 samples in three shards, one of them without a recaption."""
    folder = tmp_path_factory.mktemp("data")
    for shard in write_shards(folder / "web", [10, 10, 7]):
        rows = [
            {"key": s.key, "sha256": s.sha256, "re_caption": f"a picture {s.key}. It is small."}
            for s in read_shard(shard, "")
        ]
        if shard.name == "00001":
            rows[3] = {**rows[3], "re_caption": None, "status": "failed"}
        write_sidecar(folder / "side", shard.name, rows)
    return DataConfig(shards=folder / "web", sidecars={"recaption": folder / "side"}, window_samples=8)


def loader(data: DataConfig, mix: CaptionMixConfig = HALF, **options: Any) -> MixedLoader:
    arguments = {"seed": 3, "batch_size": 12, "microbatch_size": 3, **options}
    return MixedLoader(data, mix, crop, WordTokenizer(), **arguments)


def flat(source: MixedLoader, start: int, num_updates: int, rank: int = 0, world_size: int = 1) -> list[ImageTextBatch]:
    updates = islice(source.updates(start, rank=rank, world_size=world_size), num_updates)
    return [batch for update in updates for batch in update]


def assert_same(left: list[ImageTextBatch], right: list[ImageTextBatch]) -> None:
    for name in ("keys", "positions", "sources", "texts"):
        assert [x for b in left for x in getattr(b, name)] == [x for b in right for x in getattr(b, name)]
    for name in ("images", "token_ids", "token_lengths", "truncated"):
        assert torch.equal(torch.cat([getattr(b, name) for b in left]), torch.cat([getattr(b, name) for b in right]))


def test_resume_equals_undisturbed_across_epochs(data: DataConfig) -> None:
    whole = flat(loader(data), 0, 9)
    assert_same(flat(loader(data), 5, 4), whole[5 * 4 :])


def test_ranks_and_microbatches_do_not_change_an_update(data: DataConfig) -> None:
    whole = flat(loader(data, microbatch_size=12), 1, 4)
    for world_size, microbatch_size in [(2, 6), (2, 2), (4, 3), (1, 4), (3, None)]:
        sources = [loader(data, microbatch_size=microbatch_size) for _ in range(world_size)]
        ranks = [source.updates(1, rank=r, world_size=world_size) for r, source in enumerate(sources)]
        together = [batch for _ in range(4) for rank in ranks for batch in next(rank)]
        assert_same(together, whole)


def test_workers_do_not_change_the_stream(data: DataConfig) -> None:
    plain, many = loader(data), loader(dataclasses.replace(data, num_workers=2))
    many.stream.sample(0)  # a tar open in the parent must not disturb the workers
    assert_same(flat(many, 2, 5), flat(plain, 2, 5))
    assert many.audit() == plain.audit()


def test_cache_does_not_change_the_stream(data: DataConfig) -> None:
    without = loader(dataclasses.replace(data, cache_mib=0))
    assert_same(flat(without, 0, 6), flat(loader(data), 0, 6))


def test_every_epoch_holds_every_sample_once(data: DataConfig) -> None:
    source = loader(data, batch_size=9, microbatch_size=9)
    keys = [key for batch in flat(source, 0, 6) for key in batch.keys]
    assert len(keys) == 54
    assert Counter(keys[:27]) == Counter(keys[27:])
    assert max(Counter(keys[:27]).values()) == 1
    assert keys[:27] != keys[27:]


def test_positions_run_on_without_a_drop(data: DataConfig) -> None:
    assert [p for batch in flat(loader(data), 2, 3) for p in batch.positions] == list(range(24, 60))


def test_batch_holds_what_it_says(data: DataConfig) -> None:
    [batch] = flat(loader(data, microbatch_size=12), 0, 1)
    assert batch.images.shape == (12, 3, 8, 8) and batch.images.dtype == torch.uint8
    expected = WordTokenizer()(batch.texts)
    assert torch.equal(batch.token_ids, expected.ids) and torch.equal(batch.token_lengths, expected.lengths)
    for source, text in zip(batch.sources, batch.texts, strict=True):
        assert text.startswith({"original": "alt text", "recaption": "a picture"}[source])
    assert all(key.startswith("web/") for key in batch.keys)


def test_captions_and_crops_belong_to_their_images(data: DataConfig) -> None:
    samples = {s.qualified_key: s for shard in list_shards(data.shards) for s in read_shard(shard, "web")}
    from imagetext.decode import decode
    from runtime.seeds import numpy_generator

    for batch in flat(loader(data, CaptionMixConfig()), 0, 4):
        for index, key in enumerate(batch.keys):
            assert batch.texts[index] == samples[key].captions["original"]
            epoch = batch.positions[index] // 27
            pixels = crop(decode(samples[key].image), numpy_generator(3, "transform", epoch, key))
            assert np.array_equal(batch.images[index].numpy(), pixels)


def test_each_distinct_caption_is_tokenized_once(data: DataConfig) -> None:
    tokenizer = WordTokenizer()
    source = MixedLoader(data, CaptionMixConfig(), crop, tokenizer, 3, 27)
    flat(source, 0, 5)
    assert tokenizer.num_texts == 27


def test_audit_counts_what_was_served(data: DataConfig) -> None:
    source = loader(data, CaptionMixConfig(original_share=0.0), batch_size=9, microbatch_size=9)
    batches = flat(source, 0, 6)
    audit: dict[str, Any] = source.audit()
    assert (audit["drawn"], audit["distinct"], audit["repeated"], audit["skipped"]) == (54, 27, 27, {})
    assert audit["sources"]["original"]["fallbacks"] == 2  # the sample without a recaption, once in each epoch
    assert audit["sources"]["recaption"]["share"] == 52 / 54
    lengths = [len(t.split()) for b in batches for t, s in zip(b.texts, b.sources, strict=True) if s == "recaption"]
    assert audit["sources"]["recaption"]["mean_length_words"] == np.mean(lengths)
    assert audit["sources"]["recaption"]["truncated_share"] == 0.0


def test_fingerprints_of_parts_add_up(data: DataConfig) -> None:
    def fingerprint(start: int, updates: int, **place: int) -> int:
        source = loader(data)
        flat(source, start, updates, **place)
        return int(str(source.audit()["keys_fingerprint"]), 16)

    whole = fingerprint(0, 6)
    assert (fingerprint(0, 2) + fingerprint(2, 4)) % 2**64 == whole
    assert sum(fingerprint(0, 6, rank=r, world_size=2) for r in range(2)) % 2**64 == whole
    assert fingerprint(1, 6) != whole


def test_audit_of_a_resumed_run_is_that_of_the_undisturbed_one(data: DataConfig) -> None:
    """Two ranks stop after two updates; one rank goes on from what both had counted, as saved with torch."""
    ranks = [loader(data) for _ in range(2)]
    for rank, source in enumerate(ranks):
        flat(source, 0, 2, rank=rank, world_size=2)
    buffer = io.BytesIO()
    torch.save([source.state_dict() for source in ranks], buffer)
    buffer.seek(0)
    resumed = loader(data)
    assert isinstance(resumed, CountingSource)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    flat(resumed, 2, 5)
    whole = loader(data)
    flat(whole, 0, 7)
    assert resumed.audit() == whole.audit()


def broken(folder: Path, bad: dict[int, bytes], size: int = 20) -> DataConfig:
    rows = [row(0, i, **({"image": bad[i]} if i in bad else {})) for i in range(size)]
    write_shard(folder, 0, rows)
    return DataConfig(shards=folder, max_bad_share=0.5)


def test_bad_samples_leave_holes_and_are_counted_by_reason(tmp_path: Path) -> None:
    whole = row(0, 2).image
    assert whole is not None
    data = broken(tmp_path, {2: whole[: len(whole) // 2], 5: b"no image", 6: b""})
    source = loader(data, CaptionMixConfig(), batch_size=20, microbatch_size=5)
    batches = flat(source, 0, 1)
    assert sum(len(b) for b in batches) == 17 and len(batches) == 4
    assert source.audit()["skipped"] == {"empty": 1, "not_an_image": 1, "truncated": 1}
    good = flat(loader(broken(tmp_path / "good", {}), CaptionMixConfig(), batch_size=20, microbatch_size=5), 0, 1)
    bad_keys = {f"{row(0, i).key}" for i in (2, 5, 6)}
    positions = [p for b in good for k, p in zip(b.keys, b.positions, strict=True) if k.split("/")[1] not in bad_keys]
    assert [p for b in batches for p in b.positions] == positions


def test_batch_of_bad_samples_alone_is_empty_but_there(tmp_path: Path) -> None:
    data = broken(tmp_path, dict.fromkeys(range(4), b"no image"), size=4)
    [batch] = flat(loader(data, CaptionMixConfig(), batch_size=4, microbatch_size=4), 0, 1)
    assert len(batch) == 0 and batch.images.shape == (0, 3, 8, 8) and batch.token_ids.shape == (0, 6)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_budget_for_bad_samples_stops(tmp_path: Path, num_workers: int) -> None:
    broken(tmp_path, {3: b"no image"})
    data = DataConfig(shards=tmp_path, max_bad_share=0.0, num_workers=num_workers)
    with pytest.raises(
        UserError, match=r"too many bad samples: found 1 of 20 \(not_an_image 1\), the last .*/000000003"
    ):
        flat(loader(data, CaptionMixConfig(), batch_size=20, microbatch_size=20), 0, 1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_broken_shard_stops(tmp_path: Path, num_workers: int) -> None:
    [shard] = write_shards(tmp_path, [4])
    Path(shard.tar).write_bytes(Path(shard.tar).read_bytes()[:2000])
    data = DataConfig(shards=tmp_path, num_workers=num_workers)
    with pytest.raises(UserError, match=r"00000\.tar: tar is truncated or damaged"):
        flat(loader(data, CaptionMixConfig(), batch_size=4, microbatch_size=4), 0, 1)


def test_batch_size_that_does_not_divide_is_refused(data: DataConfig) -> None:
    with pytest.raises(UserError, match="12 samples over 2 ranks in microbatches of 4"):
        flat(loader(data, microbatch_size=4), 0, 1, world_size=2)


def test_unknown_caption_source_is_refused_at_once(data: DataConfig) -> None:
    mix = CaptionMixConfig(original_share=0.5, others={"paraphrase": 1.0})
    with pytest.raises(UserError, match="caption source paraphrase does not exist: wanted one of original, recaption"):
        loader(data, mix)
