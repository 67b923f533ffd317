"""Encode shards into latents, shard by shard: the unit that is whole or absent."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from dit_train.autoencoder import Autoencoder
from dit_train.encode_config import EncodeConfig
from dit_train.latent_contract import LatentContract, contract_of
from dit_train.latent_shards import ENCODED, mark_path, write_latents
from dit_train.task import to_unit_range
from imagetext.decode import DecodeError, decode
from imagetext.shards import Shard, ShardReader, describe_shard, list_shard_names
from imagetext.transforms import resize_center_crop
from imagetext.work_ahead import work_ahead
from runtime.atomic import make_folder, remove_partials, write_json
from runtime.device import pick_device
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.launch import is_main_process, rank, world_size
from runtime.progress import Progress

CONTRACT_FILE = "contract/contract.json"
"""In a folder of its own: readers take every file beside the latents for one of theirs."""


@dataclass(frozen=True)
class _Rows:
    """Some neighbouring rows of a shard."""

    shard: Shard
    rows: range


@dataclass(frozen=True)
class _Decoded:
    shard: Shard
    keys: tuple[str, ...]
    statuses: tuple[str, ...]
    pixels: UInt8[np.ndarray, "row 3 size size"]
    """Zeros where the status is another than success."""


def encode_shards(config: EncodeConfig) -> int:
    """Encode this process's share of the shards that are not encoded yet; return how many that were.

    Raises UserError for a folder of latents of another kind, or shards that can't be read.
    """
    torch.set_num_threads(config.threads)
    autoencoder = Autoencoder(config.vae, pick_device(config.device))
    contract = contract_of(autoencoder, config.vae, config.image_size_px)
    _claim(config, contract)
    names = [name for name in list_shard_names(config.shards) if not mark_path(config.output_dir, name).exists()]
    mine = [describe_shard(config.shards, name) for name in names[rank() :: world_size()]]
    reader = _Reader(config)
    tasks = (_Rows(shard, rows) for shard in mine for rows in _batches(shard.num_samples, config.batch_size))
    decoded = work_ahead(reader.read, tasks, config.num_workers)
    total = sum(shard.num_samples for shard in mine)
    with Progress(total=total, unit="images", label="encoding", enabled=is_main_process()) as progress:
        # A shard without samples has no batch, hence no latents either: training passes over it too.
        for shard, batches in groupby(decoded, key=lambda batch: batch.shard):
            _encode_shard(config, contract, autoencoder, shard, batches, progress)
    return len(mine)


class _Reader:
    """Read, decode and crop rows; keeps the shard open that it read last."""

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        self._open: ShardReader | None = None

    def read(self, task: _Rows) -> _Decoded:
        if self._open is None or self._open.shard.name != task.shard.name:
            if self._open is not None:
                self._open.close()
            self._open = ShardReader(task.shard, "")
        size = self._config.image_size_px
        keys, statuses = [], []
        pixels = np.zeros((len(task.rows), 3, size, size), dtype=np.uint8)
        for place, row in enumerate(task.rows):
            sample = self._open.sample(row)
            keys.append(sample.key)
            try:
                pixels[place] = resize_center_crop(decode(sample.image, self._config.max_pixels), size)
                statuses.append(ENCODED)
            except DecodeError as error:
                statuses.append(error.reason)
        return _Decoded(task.shard, tuple(keys), tuple(statuses), pixels)


def _encode_shard(
    config: EncodeConfig,
    contract: LatentContract,
    autoencoder: Autoencoder,
    shard: Shard,
    batches: Iterator[_Decoded],
    progress: Progress,
) -> None:
    keys: list[str] = []
    statuses: list[str] = []
    moments: list[Tensor] = []
    mirrored: list[Tensor] = []
    for batch in batches:
        keys += batch.keys
        statuses += batch.statuses
        moments.append(_encode(autoencoder, config, batch.pixels, batch.statuses))
        if config.mirrored:
            mirrored.append(_encode(autoencoder, config, batch.pixels[..., ::-1].copy(), batch.statuses))
        progress.advance(len(batch.keys))
        progress.show({"shard": shard.name})
    write_latents(
        config.output_dir,
        shard.name,
        contract=contract,
        keys=keys,
        statuses=statuses,
        moments=torch.cat(moments),
        mirrored=torch.cat(mirrored) if config.mirrored else None,
        facts={"shard_fingerprint": shard.fingerprint},
    )


def _encode(autoencoder: Autoencoder, config: EncodeConfig, pixels: np.ndarray, statuses: Sequence[str]) -> Tensor:
    device = next(autoencoder.model.parameters()).device
    with _autocast(config, device):
        moments = autoencoder.encode(to_unit_range(torch.from_numpy(pixels).to(device))).to("cpu", torch.bfloat16)
    moments[[status != ENCODED for status in statuses]] = 0
    return moments


def _autocast(config: EncodeConfig, device: torch.device) -> AbstractContextManager[object]:
    return nullcontext() if config.precision == "fp32" else torch.autocast(device.type, torch.bfloat16)


def _batches(num_rows: int, batch_size: int) -> Iterator[range]:
    for start in range(0, num_rows, batch_size):
        yield range(start, min(start + batch_size, num_rows))


def _claim(config: EncodeConfig, contract: LatentContract) -> None:
    """Write the folder's contract before the first latents; refuse a folder that was begun under another."""
    make_folder(config.output_dir)
    path = config.output_dir / CONTRACT_FILE
    # Mirrored images are part of what the folder promises, though a reader can do without them.
    facts = asdict(contract) | {"mirrored": config.mirrored, "precision": config.precision}
    if path.exists():
        found = read_object(path)
        contract.require(found, path)
        for name in ("mirrored", "precision"):
            if found.get(name) != facts[name]:
                fix = "Choose another output_dir, or give the setting it was begun with"
                raise UserError(
                    f"latents of another kind: {name}",
                    where=path,
                    found=found.get(name),
                    wanted=str(facts[name]),
                    fix=fix,
                )
    elif is_main_process():
        remove_partials(config.output_dir)
        write_json(path, facts)
