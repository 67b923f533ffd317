"""Stored latents as the loader's pictures."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import BFloat16
from torch import Tensor

from dit_train.latent_contract import LatentContract
from dit_train.latent_shards import ENCODED, MIRRORED, MOMENTS, LatentShard, as_bfloat16, mark_path
from imagetext.decode import DecodeError
from imagetext.samples import Sample
from imagetext.shards import list_shard_names
from runtime.errors import UserError

_OPEN_SHARDS = 64
"""Files that are kept mapped; a window of the loader reaches over few."""


class LatentPictures:
    """Give each sample's posterior moments, half of them of its mirror image where that is asked for."""

    def __init__(self, folder: Path, contract: LatentContract, *, shards: str | Path, flip: bool) -> None:
        """Check that every one of `shards` is encoded, and the first one's latents whole.

        Raises UserError for latents that are missing, unfinished, damaged or of another kind.
        """
        self._folder, self._contract, self._flip = folder, contract, flip
        self._open: OrderedDict[str, LatentShard] = OrderedDict()
        self._names = list_shard_names(shards)
        self._check(self._names)

    def blank(self) -> np.ndarray:
        """Return the moments of nothing."""
        contract = self._contract
        return np.zeros((2 * contract.latent_channels, contract.cells, contract.cells), dtype=np.uint16)

    def read(self, sample: Sample, row_index: int, generator: np.random.Generator) -> np.ndarray:
        """Return a sample's moments as the bits of bfloat16 numbers."""
        shard = self._opened(sample.shard)
        if row_index >= len(shard) or shard.keys[row_index] != sample.key:
            found = shard.keys[row_index] if row_index < len(shard) else f"{len(shard)} rows"
            fix = "Encode these shards, into another folder"
            raise UserError("latents of other images", where=shard.path, found=found, wanted=sample.key, fix=fix)
        if shard.statuses[row_index] != ENCODED:
            raise DecodeError(shard.statuses[row_index])
        # The same draw that decides on mirroring where images are decoded.
        mirrors = self._flip and generator.random() < 0.5
        return shard.row(row_index, MIRRORED if mirrors else MOMENTS)

    def stacked(self, pictures: np.ndarray) -> BFloat16[Tensor, "batch moment row column"]:
        """Return moments as bfloat16 numbers."""
        return as_bfloat16(pictures)

    def fingerprint(self) -> str:
        """Return a digest of what the latents are of, and of how they were made."""
        text = json.dumps([asdict(self._contract), self._flip], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _opened(self, name: str) -> LatentShard:
        shard = self._open.get(name)
        if shard is None:
            shard = self._open[name] = LatentShard(self._folder, name, self._contract)
            self._require_mirrored(shard)
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        return shard

    def _require_mirrored(self, shard: LatentShard) -> None:
        if self._flip and not shard.has_mirrored:
            fix = "Encode the shards with --mirrored true, or train with flip false"
            raise UserError("no mirrored latents", where=shard.path, wanted=f"a tensor {MIRRORED!r}", fix=fix)

    def _check(self, names: Sequence[str]) -> None:
        present = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        missing = [name for name in names if mark_path(self._folder, name).name not in present]
        if missing:
            raise UserError(
                f"latents of shard {missing[0]} are missing or unfinished",
                where=self._folder,
                found=f"{len(names) - len(missing)} of {len(names)} shards",
                fix="Run python -m dit_train.encode on these shards",
            )
        self._opened(names[0]).check_statistics()
