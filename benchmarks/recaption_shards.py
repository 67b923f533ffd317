"""Shards of drawn pictures to caption."""

import io
from pathlib import Path

from benchmarks.pictures import draw_pairs
from imagetext.shards import ShardRow, make_key, write_shard

_ROWS_PER_SHARD = 512
_DISTINCT_PICTURES = 96
"""Pictures drawn; shards repeat them under other keys, since drawing takes longer than captioning them."""
_JPEG_QUALITY = 95
"""DataComp's."""


def write_shards(folder: Path, num_pictures: int, side_px: int, *, rows_per_shard: int = _ROWS_PER_SHARD) -> None:
    """Write shards in img2dataset's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [
        (_jpeg(pair.image), pair.caption)
        for pair in draw_pairs(min(num_pictures, _DISTINCT_PICTURES), side_px, side_px * 3 // 4)
    ]
    for shard_index, start in enumerate(range(0, num_pictures, rows_per_shard)):
        rows = []
        for row_index in range(min(rows_per_shard, num_pictures - start)):
            image, caption = pairs[(start + row_index) % len(pairs)]
            key = make_key(shard_index, row_index)
            rows.append(ShardRow(key=key, image=image, extension="jpg", caption=caption, metadata={"uid": key}))
        write_shard(folder, shard_index, rows)


def _jpeg(image: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)  # type: ignore[attr-defined]
    return buffer.getvalue()
