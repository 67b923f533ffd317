"""All samples of a data set with all their captions, by global position."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from imagetext import files
from imagetext.decode import MAX_PIXELS
from imagetext.order import EpochOrder, Location
from imagetext.samples import ORIGINAL, Sample
from imagetext.shards import Shard, ShardReader, list_shards
from imagetext.sidecars import RECAPTION_COLUMN, SidecarRow, caption_of, read_sidecar, sidecar_fingerprint
from runtime.errors import UserError
from runtime.seeds import derive


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Say where samples and captions come from and how they are read."""

    shards: str | Path
    """Folder or fsspec URL of shards in img2dataset's layout."""
    dataset: str | None = None
    """Name that qualifies the keys; the folder's own name if null."""
    sidecars: dict[str, str | Path] = field(default_factory=dict)
    """Caption sources beside the images: source -> sidecar folder. One called "original" replaces the shards' text."""
    sidecar_columns: dict[str, str] = field(default_factory=dict)
    """Column to read of a source's sidecar; re_caption where not given."""
    window_samples: int = 4096
    """Samples inside which the order is shuffled; about as many are within reach of an open shard."""
    shuffle: bool = True
    """Whether every epoch has its own order; else the order on disk."""
    num_workers: int = 0
    """Processes that decode ahead; 0 decodes in the training process. The stream is the same for any number."""
    cache_mib: int = 512
    """Memory for decoded images per rank, in MiB, shared out among its workers; the first images to come stay."""
    max_pixels: int = MAX_PIXELS
    """Pixels above which an image is a bad sample; at most Pillow's own limit, the default."""
    max_bad_share: float = 0.01
    """Share of bad samples above which training stops (counted against at least 1000 samples)."""
    limit_samples: int | None = None
    """Use only the first samples on disk."""

    def __post_init__(self) -> None:
        for name, value, least in [
            ("window_samples", self.window_samples, 1),
            ("num_workers", self.num_workers, 0),
            ("cache_mib", self.cache_mib, 0),
            ("max_pixels", self.max_pixels, 1),
            ("limit_samples", self.limit_samples, 1),
        ]:
            if value is not None and value < least:
                raise UserError(f"{name} is out of range", found=value, wanted=f"at least {least}")
        if self.max_pixels > MAX_PIXELS:
            wanted = f"at most {MAX_PIXELS}, above which Pillow opens no image"
            raise UserError("max_pixels is out of range", found=self.max_pixels, wanted=wanted)
        if not 0.0 <= self.max_bad_share <= 1.0:
            raise UserError("max_bad_share is out of range", found=self.max_bad_share, wanted="a share in [0, 1]")
        if unknown := sorted(set(self.sidecar_columns) - set(self.sidecars)):
            raise UserError(
                "sidecar_columns names no sidecar", found=unknown[0], wanted=f"one of {list(self.sidecars)}"
            )

    @property
    def dataset_name(self) -> str:
        """Return the name that qualifies the keys."""
        return self.dataset or files.name_of(self.shards)

    @property
    def caption_sources(self) -> tuple[str, ...]:
        """Return the caption sources that a mix can draw on."""
        return (ORIGINAL, *(source for source in self.sidecars if source != ORIGINAL))


class SampleStream:
    """Read samples by global position; position i is in epoch i // num_samples.

    Opening checks what can be checked without reading images: stats of every shard, completion mark of every sidecar,
    and the first shard with its sidecars in full.
    """

    def __init__(self, config: DataConfig, seed: int):
        self.config = config
        self._shards = _limited(list_shards(config.shards), config.limit_samples)
        sizes = [size for _, size in self._shards]
        if not sum(sizes):
            raise UserError("shards hold no samples", where=config.shards)
        _check_sidecars(config, [shard for shard, _ in self._shards])
        # The first shard stands for all: a wrong column or a sidecar of other shards shows here, before any compute.
        _OpenShard(self._shards[0][0], config).close()
        self._order = EpochOrder(
            sizes, derive(seed, "order"), window_samples=config.window_samples, shuffle=config.shuffle
        )
        self._starts = list(accumulate(sizes, initial=0))
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._process = os.getpid()

    @property
    def num_samples(self) -> int:
        """Return the number of samples in an epoch."""
        return self._order.num_samples

    def locate(self, position: int) -> Location:
        """Return the epoch, shard and row at a global position."""
        return self._order.locate(position)

    def ordinal(self, location: Location) -> int:
        """Return a sample's number in the order on disk."""
        return self._starts[location.shard_index] + location.row_index

    def sample(self, position: int) -> tuple[Sample, int]:
        """Return the sample at a global position, with all its captions, and its epoch.

        Raises:
            UserError: for a broken shard or a sidecar of other images.
        """
        location = self.locate(position)
        return self.read(location), location.epoch

    def read(self, location: Location) -> Sample:
        """Return the sample at a location."""
        return self._opened(location.shard_index).sample(location.row_index)

    @property
    def shards(self) -> Sequence[tuple[Shard, int]]:
        """Return the shards in the order on disk, each with the number of its samples that are used."""
        return tuple(self._shards)

    def shard_samples(self, shard_index: int) -> Iterator[Sample]:
        """Yield a shard's samples with all their captions, in the order on disk."""
        for row_index in range(self._shards[shard_index][1]):
            yield self._opened(shard_index).sample(row_index)

    def fingerprint(self) -> str:
        """Return a digest of the shards and sidecars, whatever folder they lie in."""
        facts: list[object] = [self.config.dataset_name]
        for shard, size in self._shards:
            captions = {name: sidecar_fingerprint(folder, shard.name) for name, folder in self.config.sidecars.items()}
            facts.append([shard.name, size, shard.fingerprint, captions])
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def _opened(self, index: int) -> "_OpenShard":
        if self._process != os.getpid():
            # A forked worker shares the file positions of its parent's open tars; it opens its own.
            self._open.clear()
            self._process = os.getpid()
        shard = self._open.get(index)
        if shard is None:
            shard = self._open[index] = _OpenShard(self._shards[index][0], self.config)
            self._close_oldest()
        self._open.move_to_end(index)
        return shard

    def _close_oldest(self) -> None:
        # A window reaches over about window_samples neighbours; keep twice that, and never fewer than two shards.
        while len(self._open) > 2 and sum(map(len, self._open.values())) > 2 * self.config.window_samples:
            self._open.popitem(last=False)[1].close()


class _OpenShard:
    """A shard's tar and its sidecars' captions."""

    def __init__(self, shard: Shard, config: DataConfig):
        self._reader = ShardReader(shard, config.dataset_name)
        self._sidecars: list[tuple[str, str | Path, dict[str, SidecarRow]]] = []
        for source, folder in config.sidecars.items():
            column = config.sidecar_columns.get(source, RECAPTION_COLUMN)
            rows = read_sidecar(folder, shard.name, column)
            if rows.keys().isdisjoint(self._reader.keys):
                raise UserError(
                    f"sidecar of shard {shard.name} has no row for any of its samples",
                    where=folder,
                    fix=f"Correct data.sidecars.{source}: this one was written for other shards",
                )
            self._sidecars.append((source, folder, rows))

    def __len__(self) -> int:
        return len(self._reader)

    def close(self) -> None:
        self._reader.close()

    def sample(self, row_index: int) -> Sample:
        sample = self._reader.sample(row_index)
        if not self._sidecars:
            return sample
        captions = dict(sample.captions)
        for source, folder, rows in self._sidecars:
            captions.pop(source, None)
            caption = caption_of(rows, sample, folder)
            if caption is not None:
                captions[source] = caption
        return replace(sample, captions=captions)


def _limited(shards: Sequence[Shard], limit_samples: int | None) -> list[tuple[Shard, int]]:
    left = sum(shard.num_samples for shard in shards) if limit_samples is None else limit_samples
    limited = []
    for shard in shards:
        size = min(shard.num_samples, left)
        left -= size
        if size:
            limited.append((shard, size))
    return limited


def _check_sidecars(config: DataConfig, shards: Sequence[Shard]) -> None:
    for source, folder in config.sidecars.items():
        names = set(files.list_names(folder))
        for shard in shards:
            if f"{shard.name}.parquet" not in names or f"{shard.name}_stats.json" not in names:
                raise UserError(
                    f"sidecar of shard {shard.name} is missing or unfinished",
                    where=folder,
                    wanted=f"{shard.name}.parquet and {shard.name}_stats.json",
                    fix=f"Caption the shard, or correct data.sidecars.{source}",
                )
