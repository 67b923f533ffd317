"""Several data sets in one stream, and shares by the scores in their sidecars."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from imagetext.caption_scores import read_scores
from imagetext.loader import MixedLoader
from imagetext.mix import CaptionMixConfig, ScoreShareConfig
from imagetext.mixed_samples import MixCaptions, write_mixed_shards
from imagetext.samples import CaptionScores
from imagetext.shard_set import ShardSetConfig
from imagetext.shards import list_shards, read_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig
from runtime.errors import UserError
from tests.imagetext.pictures import write_shards
from tests.imagetext.words import WordTokenizer, crop

BY_SCORES = CaptionMixConfig(original_share=0.0, score_share=ScoreShareConfig(temperature=1e-3))


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two sets: "first" of 12 samples with scored recaptions, one of them failed, and "second" of 9 without."""
    folder = tmp_path_factory.mktemp("sets")
    for shard in write_shards(folder / "first", [8, 4]):
        rows: list[dict[str, Any]] = []
        for index, sample in enumerate(read_shard(shard, "")):
            better = index % 2 == 0
            scores = {"re_clip_score": 0.2, "org_clip_score": 0.3 if better else 0.1}
            rows.append({"key": sample.key, "re_caption": f"new {sample.key}.", **scores})
        if shard.name == "00001":
            rows[3] = {"key": rows[3]["key"], "re_caption": None, "status": "failed"}
        write_sidecar(folder / "recaption", shard.name, rows)
    write_shards(folder / "second", [5, 4])
    return folder


def two_sets(web: Path, **changes: Any) -> DataConfig:
    further = [ShardSetConfig(shards=web / "second")]
    return DataConfig(
        shards=web / "first", sidecars={"recaption": web / "recaption"}, further=further, window_samples=21, **changes
    )


def served(data: DataConfig, mix: CaptionMixConfig, num_updates: int = 2, batch_size: int = 21) -> Any:
    loader = MixedLoader(data, mix, crop, WordTokenizer(), seed=1, batch_size=batch_size)
    batches = [batch for update in islice(loader.updates(0), num_updates) for batch in update]
    return batches, loader.audit()


def test_an_epoch_holds_every_sample_of_both_sets_once(web: Path) -> None:
    mix = CaptionMixConfig(original_share=0.0, dataset_shares={"second": 1.0})
    batches, audit = served(two_sets(web), mix)
    for batch in batches:
        assert Counter(key.partition("/")[0] for key in batch.keys) == {"first": 12, "second": 9}
        assert max(Counter(batch.keys).values()) == 1
        for key, source in zip(batch.keys, batch.sources, strict=True):
            assert source == "original" or key.startswith("first/")
    assert (audit["drawn"], audit["distinct"], audit["sources"]["original"]["fallbacks"]) == (42, 21, 2)


def test_one_set_alone_is_as_it_was_and_two_have_another_fingerprint(web: Path) -> None:
    from imagetext.stream import SampleStream

    first = DataConfig(shards=web / "first")
    assert SampleStream(first, 0).fingerprint() != SampleStream(two_sets(web), 0).fingerprint()
    renamed = DataConfig(shards=web / "first", further=[ShardSetConfig(shards=web / "second", dataset="other")])
    plain = DataConfig(shards=web / "first", further=[ShardSetConfig(shards=web / "second")])
    assert SampleStream(renamed, 0).fingerprint() != SampleStream(plain, 0).fingerprint()


def test_mixed_shards_of_two_sets_hold_all_samples(web: Path, tmp_path: Path) -> None:
    mix = CaptionMixConfig(original_share=0.0, dataset_shares={"second": 1.0})
    assert write_mixed_shards(two_sets(web), mix, tmp_path, seed=1, epoch=0) == 21
    written = [sample for shard in list_shards(tmp_path) for sample in read_shard(shard, "")]
    assert len(written) == 21
    assert sum(sample.metadata["caption_source"] == "recaption" for sample in written) == 11


def test_samples_go_by_their_scores_and_the_others_are_counted(web: Path) -> None:
    batches, audit = served(two_sets(web), BY_SCORES_AND_ORIGINALS, num_updates=1)
    sources = dict(zip(batches[0].keys, batches[0].sources, strict=True))
    expected = {
        f"first/{shard:05d}{row:04d}": "original" if row % 2 == 0 or (shard, row) == (1, 3) else "recaption"
        for shard, size in ((0, 8), (1, 4))
        for row in range(size)
    }
    assert {key: source for key, source in sources.items() if key.startswith("first/")} == expected
    assert audit["unscored"] == 10  # the failed one and the second set


BY_SCORES_AND_ORIGINALS = CaptionMixConfig(
    original_share=0.0, dataset_shares={"second": 1.0}, score_share=ScoreShareConfig(temperature=1e-3)
)


def test_a_pipeline_goes_by_scores_too(web: Path) -> None:
    stage = MixCaptions({"recaption": web / "recaption"}, BY_SCORES, dataset="first")
    samples = [
        {"__url__": "x/first/00000.tar", "__key__": f"00000{row:04d}", "txt": b"old"} for row in range(8)
    ]  # fmt: skip
    texts = [sample["txt"].decode() for sample in stage(iter(samples))]
    assert texts == ["old" if row % 2 == 0 else f"new 00000{row:04d}." for row in range(8)]


def sidecar(folder: Path, scores: list[Any]) -> Path:
    rows = [
        {"key": f"{index}", "re_caption": "new", "org_clip_score": 0.1, "re_clip_score": score}
        for index, score in enumerate(scores)
    ]
    return write_sidecar(folder, "00000", rows).parent


def test_rows_without_a_score_have_none(tmp_path: Path) -> None:
    assert read_scores(sidecar(tmp_path, [0.5, None, 0.0]), "00000") == {
        "0": CaptionScores(0.5, 0.1),
        "2": CaptionScores(0.0, 0.1),
    }


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            [0.0, 0.0, None],
            r"00000\.parquet: column re_clip_score holds no scores: found 0\.0 in all 2 rows that have one, as in the "
            r"published files, where nothing was scored, wanted cosines that were computed\. Score the captions: .*"
            r"--clip_score\.model",
        ),
        ([None, None], r"00000\.parquet: column re_clip_score holds no scores: found null in all 2 rows"),
        ([0.5, float("nan")], r"00000\.parquet: column re_clip_score holds no score: found nan"),
    ],
)
def test_scores_that_nobody_computed_are_refused(tmp_path: Path, scores: list[Any], message: str) -> None:
    folder = sidecar(tmp_path, scores)
    with pytest.raises(UserError, match=message):
        read_scores(folder, "00000")


def test_they_are_refused_before_anything_is_served(tmp_path: Path) -> None:
    for shard in write_shards(tmp_path / "web", [3]):
        rows = [
            {"key": sample.key, "re_caption": "new", "re_clip_score": 0.0, "org_clip_score": 0.0}
            for sample in read_shard(shard, "")
        ]
        write_sidecar(tmp_path / "side", shard.name, rows)
    data = DataConfig(shards=tmp_path / "web", sidecars={"recaption": tmp_path / "side"})
    with pytest.raises(UserError, match="column re_clip_score holds no scores"):
        MixedLoader(data, BY_SCORES, crop, WordTokenizer(), seed=0, batch_size=3)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.table({"key": ["0"], "re_caption": ["new"], "re_clip_score": [0.5]})
    pyarrow.parquet.write_table(table, tmp_path / "00000.parquet")
    with pytest.raises(UserError, match=r"parquet has no column org_clip_score.*wanted org_clip_score"):
        read_scores(tmp_path, "00000")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (
            {"dataset_shares": {"third": 0.5}},
            r"mix: dataset_shares names no data set: found third, wanted one of first",
        ),
        (
            {"original_share": 0.5},
            r"caption source recaption does not exist: wanted one of original.*data\.further\[0\]\.sidecars\.recaption",
        ),
        (
            {"original_share": 1.0, "score_share": ScoreShareConfig(temperature=0.1, source="other")},
            r"mix\.score_share\.source: no sidecar has these scores: found other",
        ),
    ],
)
def test_what_the_data_do_not_have_is_refused(web: Path, mix: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        served(two_sets(web), CaptionMixConfig(**mix))


def test_two_sets_of_one_name_are_refused(web: Path) -> None:
    with pytest.raises(UserError, match=r"further: two data sets have one name: found first"):
        DataConfig(shards=web / "first", further=[ShardSetConfig(shards=web / "second", dataset="first")])


def test_several_captions_at_a_time_are_refused_where_there_is_room_for_one(web: Path, tmp_path: Path) -> None:
    mix = CaptionMixConfig(also=["recaption"])
    with pytest.raises(UserError, match=r"mix\.also: a pipeline's sample has one caption: found \['recaption'\]"):
        MixCaptions({"recaption": web / "recaption"}, mix)
    with pytest.raises(UserError, match=r"mix\.also: a shard's sample has one caption"):
        write_mixed_shards(two_sets(web), mix, tmp_path, seed=0, epoch=0)
