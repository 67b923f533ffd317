"""Ways in which files go bad."""

from pathlib import Path

TAR_BLOCK_BYTES = 512


def cut(path: Path) -> None:
    """Keep the first half, in whole blocks of a tar."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // TAR_BLOCK_BYTES * TAR_BLOCK_BYTES])


def scribble(path: Path) -> None:
    """Write something else."""
    path.write_text("not what it should be")


def remove(path: Path) -> None:
    """Delete."""
    path.unlink()
