"""A web of a few samples a part, with two shards where the real one has many."""

from dataclasses import fields
from pathlib import Path

from miniweb.config import CountsConfig, MiniwebConfig

_COUNTS = {field.name: 6 for field in fields(CountsConfig)} | {"web": 30, "swap": 8, "captioner": 12, "kinds": 24}


def tiny_config(folder: Path, *, seed: int = 0, processes: int = 1) -> MiniwebConfig:
    return MiniwebConfig(
        output_dir=folder, seed=seed, processes=processes, shard_size=20, counts=CountsConfig(**_COUNTS)
    )


def digests(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
