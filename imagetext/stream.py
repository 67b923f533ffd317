"""All samples of a data set with all their captions, by global position."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from imagetext.decode import MAX_PIXELS
from imagetext.order import EpochOrder, Location
from imagetext.samples import Sample
from imagetext.shard_set import OpenShard, ShardSetConfig, check_shard_set
from imagetext.shards import Shard, list_shards
from imagetext.sidecars import sidecar_fingerprint
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
    further: list[ShardSetConfig] = field(default_factory=list)
    """Further data sets, each with sidecars of its own; all are shuffled together, and an epoch holds each sample once.
    """
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
    decode_min_side_px: int | None = None
    """JPEGs are decoded at 1/8, 1/4 or 1/2 of their size where the shorter side keeps at least so many pixels; null
    decodes them whole. Other pixels than those of a whole picture made smaller, the same in every run. One and a half
    times the side that is trained on leaves most crops of 40 % of the area or more as many pixels as they are resized
    to, or more.
    """
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
            ("decode_min_side_px", self.decode_min_side_px, 1),
            ("limit_samples", self.limit_samples, 1),
        ]:
            if value is not None and value < least:
                raise UserError(f"{name} is out of range", found=value, wanted=f"at least {least}")
        if self.max_pixels > MAX_PIXELS:
            wanted = f"at most {MAX_PIXELS}, above which Pillow opens no image"
            raise UserError("max_pixels is out of range", found=self.max_pixels, wanted=wanted)
        if not 0.0 <= self.max_bad_share <= 1.0:
            raise UserError("max_bad_share is out of range", found=self.max_bad_share, wanted="a share in [0, 1]")
        names = [shard_set.dataset_name for shard_set in self.shard_sets]
        if repeated := [name for name in names if names.count(name) > 1]:
            fix = "Give each a name as `dataset`: it qualifies the keys"
            raise UserError("two data sets have one name", where="further", found=repeated[0], fix=fix)

    @property
    def shard_sets(self) -> tuple[ShardSetConfig, ...]:
        """Return all data sets."""
        first = ShardSetConfig(
            shards=self.shards, dataset=self.dataset, sidecars=self.sidecars, sidecar_columns=self.sidecar_columns
        )
        return (first, *self.further)


class SampleStream:
    """Read samples by global position; position i is in epoch i // num_samples.

    Opening checks what can be checked without reading images: stats of every shard, completion mark of every sidecar,
    and the first shard with its sidecars in full.
    """

    def __init__(self, config: DataConfig, seed: int, scored_source: str | None = None):
        """`scored_source` names the sidecar whose scores samples bring along."""
        self.config = config
        self._scored_source = scored_source
        sets = config.shard_sets
        located = [(shard, one) for one in sets for shard in list_shards(one.shards)]
        self._shards = _limited(located, config.limit_samples)
        sizes = [size for _, _, size in self._shards]
        if not sum(sizes):
            raise UserError("shards hold no samples", where=config.shards)
        for one in sets:
            own = [index for index, (_, its_set, _) in enumerate(self._shards) if its_set is one]
            check_shard_set(one, [self._shards[index][0] for index in own])
            # The first shard stands for all: a wrong column or a sidecar of other shards shows before any compute.
            if own:
                self._open_shard(own[0]).close()
        self._order = EpochOrder(
            sizes, derive(seed, "order"), window_samples=config.window_samples, shuffle=config.shuffle
        )
        self._starts = list(accumulate(sizes, initial=0))
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
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

    def read(self, location: Location, *, with_image: bool = True) -> Sample:
        """Return the sample at a location, with its image or an empty one."""
        return self._opened(location.shard_index).sample(location.row_index, with_image=with_image)

    @property
    def shards(self) -> Sequence[tuple[Shard, int]]:
        """Return the shards in the order on disk, each with the number of its samples that are used."""
        return tuple((shard, size) for shard, _, size in self._shards)

    def shard_samples(self, shard_index: int) -> Iterator[Sample]:
        """Yield a shard's samples with all their captions, in the order on disk."""
        for row_index in range(self._shards[shard_index][2]):
            yield self._opened(shard_index).sample(row_index)

    def fingerprint(self) -> str:
        """Return a digest of the shards and sidecars, whatever folder they lie in."""
        facts: list[object] = []
        named = ""
        for shard, shard_set, size in self._shards:
            if shard_set.dataset_name != named:
                named = shard_set.dataset_name
                facts.append(named)
            captions = {name: sidecar_fingerprint(folder, shard.name) for name, folder in shard_set.sidecars.items()}
            facts.append([shard.name, size, shard.fingerprint, captions])
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def _open_shard(self, index: int) -> OpenShard:
        shard, shard_set, _ = self._shards[index]
        return OpenShard(shard, shard_set, self._scored_source)

    def _opened(self, index: int) -> OpenShard:
        if self._process != os.getpid():
            # A forked worker shares the file positions of its parent's open tars; it opens its own.
            self._open.clear()
            self._process = os.getpid()
        shard = self._open.get(index)
        if shard is None:
            shard = self._open[index] = self._open_shard(index)
            self._close_oldest()
        self._open.move_to_end(index)
        return shard

    def _close_oldest(self) -> None:
        # A window reaches over about window_samples neighbours; keep twice that, and never fewer than two shards.
        while len(self._open) > 2 and sum(map(len, self._open.values())) > 2 * self.config.window_samples:
            self._open.popitem(last=False)[1].close()


def _limited(
    located: Sequence[tuple[Shard, ShardSetConfig]], limit_samples: int | None
) -> list[tuple[Shard, ShardSetConfig, int]]:
    left = sum(shard.num_samples for shard, _ in located) if limit_samples is None else limit_samples
    limited = []
    for shard, shard_set in located:
        size = min(shard.num_samples, left)
        left -= size
        if size:
            limited.append((shard, shard_set, size))
    return limited
