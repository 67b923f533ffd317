"""Pictures by name: files of a folder, or members of img2dataset shards that lie in it.

A name is a file's path below the folder ("coco/train2017/000000033471.jpg"), a member of a shard ("web/00012.tar/" and
the key), or, where the folder itself holds shards, a key alone. Keys may carry their extension.
"""

import errno
import os
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from imagetext.decode import DecodeError
from imagetext.picture_index import PictureIndex, PicturePlace
from imagetext.tar_index import split_name
from runtime.errors import UserError

MISSING = "missing"
"""Reason of a picture that is not there."""
_TAR_MARK = ".tar/"
"""What parts a shard's path from a key in a name."""
_MAX_OPEN_SHARDS = 64
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})


def shard_of(name: str) -> str | None:
    """Return the path of the shard that a picture's name speaks of, None for any other name."""
    tar, mark, _ = name.rpartition(_TAR_MARK)
    return f"{tar}.tar" if mark else None


class PictureStore:
    """Read encoded pictures by name."""

    def __init__(self, folder: Path, index: PictureIndex | None = None):
        """Take the folder and, where names may lie in its shards, their index."""
        self.folder = folder
        self._index = index
        self._opened = lru_cache(maxsize=_MAX_OPEN_SHARDS)(self._open)

    def read(self, name: str) -> bytes:
        """Return a picture's bytes.

        Raises:
            DecodeError: of reason "missing" for a picture that is not there: one bad sample.
            UserError: for a shard that is shorter than its index says, a name that several shards know.
            OSError: for a file that is there and can't be read; a failure of the machine is no fault of a sample.
        """
        place = self._place(name)
        if place is not None:
            return self._read_member(place)
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            raise DecodeError(MISSING, f"{self.folder / name}: {os.strerror(error.errno)}") from None

    def holds(self, name: str) -> bool:
        """Tell whether a picture is there, without reading it."""
        if self._place(name) is not None:
            return True
        try:
            return (self.folder / name).is_file()
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return False

    def _place(self, name: str) -> PicturePlace | None:
        if self._index is None:
            return None
        key, _ = split_name(name.rpartition(_TAR_MARK)[2])
        return self._index.find(key, shard_of(name))

    def _read_member(self, place: PicturePlace) -> bytes:
        # Read at a place, not from one: forked processes share the file's position.
        data = os.pread(self._opened(place.tar).fileno(), place.size, place.offset)
        if len(data) != place.size:
            found, wanted = f"{len(data)} bytes at {place.offset}", place.size
            raise UserError("shard is shorter than it was", where=self.folder / place.tar, found=found, wanted=wanted)
        return data

    def _open(self, tar: str) -> BinaryIO:
        return (self.folder / tar).open("rb")
