"""What a folder of shards holds, in a few lines."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from imagetext.decode import DecodeError, decode
from imagetext.samples import ORIGINAL, Sample
from imagetext.shards import Shard, list_shards, read_attempted, read_shard
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar_table
from imagetext.statistics import length_statistics


def inspect_shards(folder: str | Path, sidecars: Mapping[str, str | Path], *, decode_images: bool) -> list[str]:
    """Return the lines of a report: rows by status, samples, caption lengths, missing recaptions, images that fail."""
    shards = list_shards(folder)
    samples = [sample for shard in shards for sample in read_shard(shard, "")]
    statuses = Counter(row.status for shard in shards for row in read_attempted(shard))
    lines = [
        f"shards: {len(shards)}",
        f"rows attempted: {sum(shard.num_rows for shard in shards)} ({_counted(statuses)})",
        f"samples: {len(samples)}",
        _lengths(ORIGINAL, [sample.captions[ORIGINAL] for sample in samples if ORIGINAL in sample.captions]),
    ]
    lines += [_sidecar_line(source, path, shards, samples) for source, path in sidecars.items()]
    if decode_images:
        lines.append(f"images: {_counted(Counter(_decoding(sample) for sample in samples))}")
    return lines


def _sidecar_line(source: str, folder: str | Path, shards: list[Shard], samples: list[Sample]) -> str:
    captions: dict[str, str] = {}
    for shard in shards:
        table = read_sidecar_table(folder, shard.name, ["key", RECAPTION_COLUMN]).to_pylist()
        captions.update({row["key"]: row[RECAPTION_COLUMN] for row in table if row[RECAPTION_COLUMN]})
    missing = sum(sample.key not in captions for sample in samples)
    return f"{_lengths(source, list(captions.values()))}, {missing} samples without"


def _lengths(source: str, texts: list[str]) -> str:
    if not texts:
        return f"caption {source}: none"
    found = length_statistics(texts)
    return (
        f"caption {source}: {found.count}, mean {found.mean:.1f} words, median {found.median:.0f}, "
        f"at most {found.maximum}, {found.empty_share:.1%} empty"
    )


def _decoding(sample: Sample) -> str:
    try:
        decode(sample.image)
    except DecodeError as error:
        return error.reason
    return "good"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"
