"""Benchmarks in CLIP_benchmark's webdataset layout: `<folder>/test/{nshards.txt,0.tar,...}` and class files beside."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Item:
    """One benchmark sample: its key, its encoded image, and its texts or its class."""

    key: str
    image: bytes
    texts: tuple[str, ...] = ()
    label: int | None = None


def read_benchmark(folder: Path, limit: int | None = None) -> list[Item]:
    """Read a benchmark's test split in order; raises UserError on a missing or damaged file."""
    split = folder / "test"
    count_file = split / "nshards.txt"
    if not count_file.exists():
        raise UserError("no such benchmark", where=str(folder), wanted="test/nshards.txt (CLIP_benchmark layout)")
    items: list[Item] = []
    count = count_file.read_text().strip()
    if not count.isdecimal():
        raise UserError("no number of shards", where=str(count_file), found=count[:20], wanted="digits")
    for index in range(int(count)):
        for item in _read_tar(split / f"{index}.tar"):
            items.append(item)
            if limit is not None and len(items) >= limit:
                return items
    if not items:
        raise UserError("an empty benchmark", where=str(folder), found="0 samples", wanted="at least one")
    return items


def read_lines(folder: Path, name: str) -> list[str]:
    """Read a class file such as `classnames.txt`, one entry a line."""
    path = folder / name
    if not path.exists():
        raise UserError("missing benchmark file", where=str(path))
    return [line for line in path.read_text().splitlines() if line.strip()]


def _read_tar(path: Path) -> Iterator[Item]:
    try:
        with tarfile.open(path) as archive:
            members: dict[str, dict[str, bytes]] = {}
            for member in archive:
                stem, _, extension = member.name.partition(".")
                stream = archive.extractfile(member)
                if stream is not None:
                    members.setdefault(stem, {})[f".{extension}"] = stream.read()
    except FileNotFoundError:
        raise UserError("missing benchmark shard", where=str(path)) from None
    except tarfile.TarError as error:
        raise UserError(f"damaged benchmark shard ({error})", where=str(path), fix="Build the data again") from None
    for key, parts in members.items():
        yield _item(key, parts, path)


def _item(key: str, parts: dict[str, bytes], path: Path) -> Item:
    image = next((parts[extension] for extension in _IMAGES if extension in parts), None)
    if image is None:
        raise UserError("a sample without an image", where=f"{path}: {key}", found=sorted(parts))
    texts = tuple(line for line in parts.get(".txt", b"").decode().splitlines() if line)
    label = int(parts[".cls"]) if ".cls" in parts else None
    return Item(key, image, texts, label)
