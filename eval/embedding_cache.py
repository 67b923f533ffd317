"""Embeddings on disk: what was encoded once, by whichever process, is never encoded again.

A folder belongs to one model (`ClipModel.identity`). In it every file holds some keys and their features, written whole
or not at all; a picture's key is the hash of its bytes with its crop, a text's that of its token ids.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from runtime import atomic
from runtime.errors import UserError

Kind = Literal["pictures", "texts"]


class EmbeddingCache:
    """The embeddings of one model and kind."""

    def __init__(self, folder: Path, identity: str, kind: Kind) -> None:
        """Read what is there."""
        self._folder = folder / identity[:16] / kind
        self._read: set[str] = set()
        self._rows: dict[str, np.ndarray] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        for path in sorted(self._folder.glob("*.npz")):
            if path.name not in self._read and not atomic.is_partial(path):
                with np.load(path, allow_pickle=False) as part:
                    self._rows.update(zip(part["keys"].tolist(), part["features"], strict=True))
                self._read.add(path.name)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return the keys without an embedding, in order."""
        return [key for key in keys if key not in self._rows]

    def add(self, keys: Sequence[str], features: Float[np.ndarray, "key width"]) -> None:
        """Keep embeddings; raises UserError for one that is not finite."""
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            found = f"NaN or infinite for {len(bad)} of {len(keys)}, the first {keys[bad[0]]}"
            fix = "The weights are damaged, or the precision is too low for them: try --precision float32"
            raise UserError("an embedding that is not finite", where=self._folder.name, found=found, fix=fix)
        name = f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.npz"
        with atomic.atomic_path(self._folder / name) as partial, partial.open("wb") as file:
            np.savez(file, keys=np.array(keys), features=features.astype(np.float32))
        self._rows.update(zip(keys, features.astype(np.float32), strict=True))
        self._read.add(name)

    def features(self, keys: Sequence[str]) -> Float[np.ndarray, "key width"]:
        """Return embeddings in the order of their keys, all of which are there."""
        return np.stack([self._rows[key] for key in keys])
