"""The pieces of a build: each can be made alone, in any order and any process, and has a mark when it is done."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from miniweb.benchmarks import BENCHMARKS, build_benchmark
from miniweb.config import MiniwebConfig
from miniweb.conversations import build_captioner_images, build_conversations, build_texts
from miniweb.plain_shards import PLAIN_SPLITS, build_plain_shard
from miniweb.products import Made
from miniweb.prompts import PROMPT_FILES, build_prompt_images, build_prompts
from miniweb.scene import signature
from miniweb.web import build_web_shard
from runtime.atomic import write_json
from runtime.json_files import read_object

MARKS_FOLDER = ".units"


@dataclass(frozen=True)
class Unit:
    """One piece: a part of the data (a split, a file, a set), and for sharded parts the shard and its rows."""

    part: str
    index: int = 0
    num_rows: int = 0

    @property
    def name(self) -> str:
        """The mark's file name without its ending."""
        return f"{self.part}-{self.index:05d}"


def list_units(config: MiniwebConfig) -> list[Unit]:
    """Return every piece of the build; the indivisible ones first, so that no process ends late."""
    counts = config.counts
    sharded = {
        "web": counts.web,
        "captioner_images": counts.captioner,
        **{name: getattr(counts, name) for name in PLAIN_SPLITS},
    }
    units = [
        Unit(part, index, min(config.shard_size, num_rows - start))
        for part, num_rows in sharded.items()
        for index, start in enumerate(range(0, num_rows, config.shard_size))
    ]
    whole = [*(f"benchmark_{name}" for name in BENCHMARKS), "captioner_conversations", "captioner_texts"]
    whole += [*(f"prompts_{name}" for name in PROMPT_FILES), "prompt_images"]
    return [*(Unit(part) for part in whole), *units]


def build_unit(config: MiniwebConfig, unit: Unit) -> dict[str, object]:
    """Make a piece and mark it done; return its mark: files with their digests, scene signatures, facts."""
    folder = config.output_dir
    made = _builder(unit.part)(config, folder, unit)
    mark: dict[str, object] = {
        "part": unit.part,
        "files": {str(path.relative_to(folder)): _digest(path) for path in made.files},
        "num_scenes": len(made.scenes),
        "signatures": [short_signature(signature(scene)) for scene in made.scenes],
        "facts": made.facts,
    }
    write_json(mark_path(folder, unit), mark)
    return mark


def mark_path(folder: Path, unit: Unit) -> Path:
    """Return where a finished piece has its mark."""
    return folder / MARKS_FOLDER / f"{unit.name}.json"


def read_mark(folder: Path, unit: Unit) -> dict[str, object] | None:
    """Return a finished piece's mark; None while it is not finished."""
    path = mark_path(folder, unit)
    return read_object(path) if path.exists() else None


def short_signature(text: str) -> str:
    """Return a scene signature in 16 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


Builder = Callable[[MiniwebConfig, Path, Unit], Made]


def _builder(part: str) -> Builder:
    if part in PLAIN_SPLITS:
        return lambda config, folder, unit: build_plain_shard(config, folder, part, unit.index, unit.num_rows)
    prefix, _, name = part.partition("_")
    if prefix == "benchmark":
        return lambda config, folder, unit: build_benchmark(config, folder, name)
    if prefix == "prompts":
        return lambda config, folder, unit: build_prompts(config, folder, name)
    return _OTHER_BUILDERS[part]


_OTHER_BUILDERS: Mapping[str, Builder] = {
    "web": lambda config, folder, unit: build_web_shard(config, folder, unit.index, unit.num_rows),
    "captioner_images": lambda config, folder, unit: build_captioner_images(config, folder, unit.index, unit.num_rows),
    "captioner_conversations": lambda config, folder, unit: build_conversations(config, folder),
    "captioner_texts": lambda config, folder, unit: build_texts(config, folder),
    "prompt_images": lambda config, folder, unit: build_prompt_images(config, folder),
}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
