"""Posterior moments on disk: one safetensors file per shard of images, a row per sample in the order of its tar.

    NNNNN.safetensors    moments (row, 2 x channel, row of cells, column of cells), bfloat16: means, then log-variances
                         mirrored (the same of the mirrored images, where those were asked for)
                         header: contract, keys, statuses, statistics
    NNNNN_stats.json     last: counts, digests; a file without it is unfinished

Rows lie one after the other, each in one piece, so that a window of neighbours is read almost in sequence.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import BFloat16
from safetensors.torch import save_file
from torch import Tensor

from dit_train.latent_contract import LatentContract
from runtime.atomic import atomic_path, write_json
from runtime.errors import UserError

MOMENTS: Literal["moments"] = "moments"
MIRRORED: Literal["mirrored"] = "mirrored"
ENCODED = "success"
"""Status of a row that holds moments; others name the reason why it holds zeros."""
STATISTICS_ROWS = 1000
"""Encoded rows, the first ones, that the statistics in the header are of."""
STATISTICS_TOLERANCE = 1e-3
"""How far statistics computed anew may lie from the header's, beside their spread: sums in another order."""

_HEADER = "latents"

Moments = BFloat16[Tensor, "row moment cell_row cell_column"]


def write_latents(
    folder: Path,
    shard_name: str,
    *,
    contract: LatentContract,
    keys: Sequence[str],
    statuses: Sequence[str],
    moments: Moments,
    mirrored: Moments | None,
    facts: Mapping[str, object],
) -> None:
    """Write a shard's moments, then its completion mark with counts, digests and `facts` (plain JSON types)."""
    path, mark = latents_path(folder, shard_name), mark_path(folder, shard_name)
    encoded = torch.tensor([status == ENCODED for status in statuses])
    header = {
        "contract": asdict(contract),
        "keys": list(keys),
        "statuses": list(statuses),
        "statistics": statistics(moments[encoded][:STATISTICS_ROWS]),
    }
    tensors: dict[str, Tensor] = {MOMENTS: moments.contiguous()}
    if mirrored is not None:
        tensors[MIRRORED] = mirrored.contiguous()
    mark.unlink(missing_ok=True)
    with atomic_path(path) as partial:
        # One entry: safetensors writes several in any order, and equal latents should be equal bytes.
        save_file(tensors, partial, {_HEADER: json.dumps(header)})
        with partial.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    counts = {
        "count": len(keys),
        "successes": int(encoded.sum()),
        "status_dict": dict(sorted(Counter(statuses).items())),
    }
    write_json(mark, {**facts, **counts, "latents_sha256": digest})


def statistics(moments: Moments) -> dict[str, list[float]]:
    """Return mean and spread of each channel's posterior means, unscaled."""
    means = moments.float().chunk(2, dim=1)[0]
    per_channel = means.transpose(0, 1).flatten(1).double()
    if not per_channel.numel():
        return {"mean": [], "deviation": []}
    return {"mean": per_channel.mean(1).tolist(), "deviation": per_channel.std(1, correction=0).tolist()}


def latents_path(folder: Path, shard_name: str) -> Path:
    """Return where a shard's moments lie."""
    return Path(folder) / f"{shard_name}.safetensors"


def mark_path(folder: Path, shard_name: str) -> Path:
    """Return where a shard's completion mark lies."""
    return Path(folder) / f"{shard_name}_stats.json"


class LatentShard:
    """Read the rows of one finished file; holds it mapped into memory."""

    def __init__(self, folder: Path, shard_name: str, contract: LatentContract):
        """Raise UserError when the file is missing, unfinished, damaged or under another contract."""
        self.path = latents_path(folder, shard_name)
        self._refuse_unfinished(folder, shard_name)
        try:
            header, self._rows = _map_file(self.path)
            self.keys: list[str] = header["keys"]
            self.statuses: list[str] = header["statuses"]
            self.statistics: dict[str, list[float]] = header["statistics"]
            found = header["contract"]
        except (ValueError, KeyError, TypeError) as error:
            fix = "Remove it and its mark, and encode the shard again"
            raise UserError("latents are damaged", where=self.path, found=repr(error), fix=fix) from None
        contract.require(found, self.path)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def has_mirrored(self) -> bool:
        """Tell whether the mirrored images' moments are there too."""
        return MIRRORED in self._rows

    def row(self, index: int, name: Literal["moments", "mirrored"]) -> np.ndarray:
        """Return one row's moments as the bits of bfloat16 numbers (uint16), without copying."""
        row: np.ndarray = self._rows[name][index]
        return row

    def check_statistics(self) -> None:
        """Raise UserError when the first rows' statistics are not those that the header records."""
        encoded = [index for index, status in enumerate(self.statuses) if status == ENCODED][:STATISTICS_ROWS]
        found = statistics(as_bfloat16(self._rows[MOMENTS][encoded]))
        for name, wanted in self.statistics.items():
            spread = np.asarray(self.statistics["deviation"])
            if not np.allclose(found[name], wanted, rtol=0, atol=STATISTICS_TOLERANCE * max(1e-6, float(spread.max()))):
                raise UserError(
                    f"latents are not what their header says: {name} of each channel",
                    where=self.path,
                    found=found[name],
                    wanted=str(wanted),
                    fix="Remove it and its mark, and encode the shard again",
                )

    def _refuse_unfinished(self, folder: Path, shard_name: str) -> None:
        for path in (self.path, mark_path(folder, shard_name)):
            if not path.is_file():
                fix = "Run python -m dit_train.encode on these shards"
                raise UserError(f"latents of shard {shard_name} are missing or unfinished", where=path, fix=fix)


def as_bfloat16(bits: np.ndarray) -> Tensor:
    """Return rows that `LatentShard.row` gave, stacked, as a bfloat16 tensor."""
    owned = bits if bits.flags.writeable else bits.copy()
    return torch.from_numpy(owned.view(np.int16)).view(torch.bfloat16)


def _map_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a safetensors file's facts and its tensors, mapped: numpy has no bfloat16, so its bits are given.

    The format: eight bytes with the length of a JSON header, the header, then the numbers.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        places = json.loads(file.read(length))
    facts: dict[str, Any] = json.loads(places.pop("__metadata__")[_HEADER])
    rows: dict[str, np.ndarray] = {}
    for name, place in places.items():
        if place["dtype"] != "BF16":
            raise ValueError(f"{name} is {place['dtype']}, not BF16")
        start = 8 + length + place["data_offsets"][0]
        rows[name] = np.memmap(path, dtype=np.uint16, mode="r", offset=start, shape=tuple(place["shape"]))
    return facts, rows
