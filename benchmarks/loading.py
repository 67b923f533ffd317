"""Loading: MixedLoader beside a plain webdataset pipeline over the same shards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import open_clip
import torch
import webdataset
from PIL import Image
from torch import Tensor

from benchmarks.pictures import draw_pairs
from benchmarks.race import Contender, race, table, timed
from imagetext.loader import MixedLoader
from imagetext.mix import CaptionMixConfig
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.stream import DataConfig
from imagetext.tokenizers import TextTokenizer, open_clip_tokenizer
from imagetext.transforms import random_resized_crop
from miniweb.draw import encode

ABOUT = """\
One process reads, decodes, crops at random (`imagetext.transforms.random_resized_crop`), tokenizes (open_clip's CLIP
BPE, 32 tokens) and batches. The plain pipeline is webdataset's own, sample by sample as open_clip builds it:
`WebDataset(urls).shuffle(window).decode("pil").to_tuple("jpg", "txt").map_tuple(transform, tokenize).batched(size)`.
It cannot resume inside an epoch and mixes no captions; MixedLoader does both, with one global order for any number of
ranks and workers. Its first epoch includes opening the shards; later ones find decoded images and token ids in memory,
as far as `cache_mib` reaches: here all of them. On data too large for the cache every epoch is a first one."""

_CROP_PX = 64
_TOKENIZER = "ViT-B-32"
_CONTEXT_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is loaded."""

    num_shards: int = 4
    samples_per_shard: int = 256
    width_px: int = 256
    height_px: int = 192
    batch_size: int = 64

    @property
    def num_samples(self) -> int:
        """Return the samples of an epoch."""
        return self.num_shards * self.samples_per_shard


SIZES = {"full": Size(), "tiny": Size(num_shards=1, samples_per_shard=16, width_px=64, height_px=48, batch_size=8)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of epochs loaded in each way."""
    with TemporaryDirectory() as folder:
        _write_shards(Path(folder), size)
        tokenizer = open_clip_tokenizer(_TOKENIZER, _CONTEXT_TOKENS)
        seen = _Epochs(Path(folder), tokenizer, size)
        seen.next_epoch()
        contenders = [
            Contender(
                name="webdataset",
                seconds=lambda: timed(lambda: _exhaust(_plain_pipeline(Path(folder), size))),
                num_items=size.num_samples,
            ),
            Contender(
                name="MixedLoader, first epoch",
                seconds=lambda: timed(lambda: _Epochs(Path(folder), tokenizer, size).next_epoch()),
                num_items=size.num_samples,
            ),
            Contender(
                name="MixedLoader, later epochs", seconds=lambda: timed(seen.next_epoch), num_items=size.num_samples
            ),
        ]
        results = race(contenders, repeats=repeats)
    what = f"{size.num_shards} shards of {size.samples_per_shard} drawn pictures"
    return f"{what}, {size.width_px} x {size.height_px} px JPEG to {_CROP_PX} px.\n\n{table(results, unit='samples')}"


def _open(folder: Path, tokenizer: TextTokenizer, size: Size) -> MixedLoader:
    return MixedLoader(
        DataConfig(shards=folder, window_samples=size.num_samples),
        CaptionMixConfig(original_share=1.0),
        lambda image, generator: random_resized_crop(image, _CROP_PX, generator),
        tokenizer,
        0,
        batch_size=size.batch_size,
    )


class _Epochs:
    """A loader that is asked for an epoch at a time."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, size: Size):
        self._updates = _open(folder, tokenizer, size).updates(0)
        self._num_updates = size.num_samples // size.batch_size

    def next_epoch(self) -> None:
        """Load as many batches as an epoch has."""
        for _ in range(self._num_updates):
            next(self._updates)


def _plain_pipeline(folder: Path, size: Size) -> Iterator[list[Tensor]]:
    generator = np.random.default_rng(0)
    tokenizer = open_clip.get_tokenizer(_TOKENIZER, context_length=_CONTEXT_TOKENS)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]

    def transform(image: Image.Image) -> Tensor:
        return torch.from_numpy(random_resized_crop(image.convert("RGB"), _CROP_PX, generator))

    def tokenize(text: str) -> Tensor:
        return tokenizer([text])[0]

    pipeline = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(size.num_samples).decode("pil")
    return iter(pipeline.to_tuple("jpg", "txt").map_tuple(transform, tokenize).batched(size.batch_size))


def _exhaust(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _write_shards(folder: Path, size: Size) -> None:
    pairs = draw_pairs(size.num_samples, size.width_px, size.height_px)
    for shard in range(size.num_shards):
        rows = [
            ShardRow(key=make_key(shard, row), image=encode(pair.image), caption=pair.caption)
            for row, pair in zip(range(size.samples_per_shard), pairs)
        ]
        write_shard(folder, shard, rows)
