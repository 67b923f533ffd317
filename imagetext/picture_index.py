"""Where each picture of many shards lies, found by key: read once from the tars' headers, then kept beside the run."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from imagetext.kept_arrays import kept_arrays
from imagetext.shards import IMAGE_EXTENSIONS, Shard, ShardReader, list_shards
from imagetext.tar_index import TarMember
from runtime.errors import UserError

_VERSION = 1
"""Part of an index's name; another number has all shards read anew."""


class PicturePlace(NamedTuple):
    """The bytes of a tar that hold one picture."""

    tar: str
    """Path of the tar below the picture folder."""
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureIndex:
    """Pictures of shards, sorted by key."""

    tars: np.ndarray
    """Paths of the shards below the picture folder."""
    keys: np.ndarray
    """UTF-8 of the key of each picture."""
    tar_numbers: Int32[np.ndarray, " pictures"]
    """Which of `tars` holds it."""
    offsets: Int64[np.ndarray, " pictures"]
    """Bytes of the tar before it."""
    sizes: Int64[np.ndarray, " pictures"]
    """Its bytes."""

    def find(self, key: str, tar: str | None) -> PicturePlace | None:
        """Return where a picture lies, in one shard or in any of the picture folder itself; None where it does not.

        Raises UserError for a key that several shards hold, when no shard is named.
        """
        wanted = np.bytes_(key.encode())
        if len(wanted) > self.keys.itemsize:
            # numpy would widen the whole array to compare with a longer key.
            return None
        first, last = int(np.searchsorted(self.keys, wanted)), int(np.searchsorted(self.keys, wanted, side="right"))
        # Keys are given out shard by shard: without a shard's name, those of other folders mean other pictures.
        places = [
            place
            for place in map(self._place, range(first, last))
            if (place.tar == tar if tar is not None else "/" not in place.tar)
        ]
        if len(places) > 1:
            found = ", ".join(place.tar for place in places)
            fix = "Name it SHARD.tar/KEY"
            raise UserError("several shards hold a picture of this key", where=key, found=found, wanted="one", fix=fix)
        return places[0] if places else None

    def _place(self, number: int) -> PicturePlace:
        tar = str(self.tars[self.tar_numbers[number]])
        return PicturePlace(tar, int(self.offsets[number]), int(self.sizes[number]))


def open_pictures_of_shards(folder: Path, tars: Iterable[str], cache: Path) -> PictureIndex:
    """Return the index of some shards below a folder; the main process makes it first where `cache` has none.

    Raises UserError for a shard that is missing, unfinished, truncated or at odds with its stats.
    """
    shards = _shards(folder, sorted(set(tars)))
    place = cache / f"{_fingerprint(folder, shards)}-v{_VERSION}.npz"
    return kept_arrays(place, PictureIndex, lambda: _index(shards))


def _shards(folder: Path, tars: Sequence[str]) -> dict[str, Shard]:
    """Return each shard by its path below the folder."""
    found: dict[str, Shard] = {}
    for parent, names in groupby(tars, key=lambda tar: str(Path(tar).parent)):
        known = {Path(shard.tar).name: shard for shard in list_shards(folder / parent)}
        for tar in names:
            if Path(tar).name not in known:
                raise UserError("shard is missing", where=folder / tar, found="no such file")
            found[tar] = known[Path(tar).name]
    return found


def _fingerprint(folder: Path, shards: dict[str, Shard]) -> str:
    """Return a digest of the shards' names, sizes, times and recorded digests; their bytes are not read for it."""
    states = {tar: (folder / tar).stat() for tar in shards}
    facts = [[tar, shards[tar].fingerprint, state.st_size, state.st_mtime_ns] for tar, state in states.items()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _index(shards: dict[str, Shard]) -> PictureIndex:
    rows: list[tuple[bytes, int, int, int]] = []
    for number, shard in enumerate(shards.values()):
        with ShardReader(shard, "") as reader:
            rows += [(member.key.encode(), number, *span) for member in reader.members if (span := _picture(member))]
    rows.sort()
    return PictureIndex(
        tars=np.array(list(shards), np.str_),
        keys=np.array([row[0] for row in rows], np.bytes_),
        tar_numbers=np.array([row[1] for row in rows], np.int32),
        offsets=np.array([row[2] for row in rows], np.int64),
        sizes=np.array([row[3] for row in rows], np.int64),
    )


def _picture(member: TarMember) -> tuple[int, int] | None:
    return next((member.parts[extension] for extension in IMAGE_EXTENSIONS if extension in member.parts), None)
