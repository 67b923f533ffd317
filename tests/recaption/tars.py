"""Tars written file by file, so that they can be as broken as those found in the wild."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, image: bytes | None = b"picture", **metadata: object) -> list[tuple[str, bytes]]:
    parts = [] if image is None else [(f"{key}.jpg", image)]
    record = json.dumps({"key": key, **metadata}).encode()
    return [*parts, (f"{key}.txt", f"alt {key}".encode()), (f"{key}.json", record)]


def write_parquet(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    names = dict.fromkeys(name for row in rows for name in row)
    pyarrow.parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def write_stats(path: Path, **counts: object) -> Path:
    path.write_text(json.dumps(counts))
    return path
