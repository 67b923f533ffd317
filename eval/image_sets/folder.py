"""A folder of pictures: drawn by `dit_train.sample`, which leaves a manifest, or of any making."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dit_train.samples import CLAIM_FILE, MANIFEST_FILE, read_manifest
from imagetext.decode import decode
from runtime.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """Pictures in an order that does not depend on the file system."""

    folder: Path
    files: tuple[Path, ...]
    keys: tuple[str, ...]
    """Of each picture: its path below the folder."""
    prompts: tuple[str, ...] | None
    """What each was drawn from; None where nothing tells."""
    drawn_how: str
    """Sampler, steps, guidance and seed, as the manifest has them; empty without one."""
    checkpoint_sha256: str
    """Weights that drew them; empty where nothing tells."""
    seed: int

    def pictures(self, start: int, stop: int) -> list[Image.Image]:
        """Decode some of the pictures to RGB; raises UserError naming the file that is none."""
        return [_decoded(file) for file in self.files[start:stop]]

    def fingerprint(self) -> str:
        """Return a digest of names and bytes of all pictures."""
        digest = hashlib.sha256()
        for key, file in zip(self.keys, self.files, strict=True):
            digest.update(key.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def read_folder(folder: Path, num_pictures: int | None = None) -> PictureFolder:
    """List the pictures of a folder; with a manifest, exactly those that it names.

    Raises UserError for a folder without pictures, a manifest's picture that is missing, or another number of pictures
    than `num_pictures`: what is missing must not leave the mean without a word.
    """
    if not folder.is_dir():
        raise UserError("no folder of pictures here", where=folder, found="no such folder")
    # A folder that is half drawn has its claim and no manifest yet: reading that says so.
    is_ours = (folder / MANIFEST_FILE).is_file() or (folder / CLAIM_FILE).is_file()
    rows = read_manifest(folder) if is_ours else None
    files = [Path(row["path"]) for row in rows] if rows else sorted(_files_below(folder))
    if not files:
        raise UserError("no pictures in the folder", where=folder, found="none", wanted=" ".join(sorted(SUFFIXES)))
    if num_pictures is not None and len(files) != num_pictures:
        raise UserError("another number of pictures", where=folder, found=len(files), wanted=num_pictures)
    return PictureFolder(
        folder=folder,
        files=tuple(files),
        keys=tuple(file.relative_to(folder).as_posix() for file in files),
        prompts=tuple(str(row["prompt"]) for row in rows) if rows else None,
        drawn_how=_drawn_how(folder, rows) if rows else "",
        checkpoint_sha256=str(rows[0].get("checkpoint_sha256", "")) if rows else "",
        seed=int(rows[0].get("seed", 0)) if rows else 0,
    )


def batches(pictures: PictureFolder, size: int) -> Iterator[list[Image.Image]]:
    """Yield decoded pictures, `size` at a time."""
    for start in range(0, len(pictures.files), size):
        yield pictures.pictures(start, start + size)


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            yield path


def _drawn_how(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    names = ("sampler", "steps", "guidance", "seed", "checkpoint_sha256")
    ways = {json.dumps({name: row.get(name) for name in names}) for row in rows}
    if len(ways) > 1:
        raise UserError("pictures drawn in several ways", where=folder / MANIFEST_FILE, found=sorted(ways)[:2])
    way = json.loads(ways.pop())
    return f"{way['sampler']}, {way['steps']} steps, guidance {way['guidance']}, seed {way['seed']}"


def _decoded(file: Path) -> Image.Image:
    try:
        return decode(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError("not a picture", where=file, found=str(error) or type(error).__name__) from None
