"""One microbatch made from its positions: read, choose a caption, decode, transform, tokenize."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from imagetext.audit import Served
from imagetext.decode import DecodeError, decode
from imagetext.mix import CaptionMix, Choice
from imagetext.order import Location
from imagetext.samples import Sample
from imagetext.stream import SampleStream
from imagetext.token_cache import CachedTokenizer
from imagetext.tokenizers import TextTokenizer
from runtime.seeds import derive, numpy_generator

Transform = Callable[[Image.Image, np.random.Generator], np.ndarray]
"""From an RGB image and its own randomness to `channel height width`, uint8 or float, one shape for all images."""
_MIB = 1 << 20


@dataclass(frozen=True)
class ImageTextBatch:
    """Hold one microbatch; bad samples are left out, so it may be shorter than asked for, even empty."""

    keys: tuple[str, ...]
    """Data-set-qualified keys."""
    positions: tuple[int, ...]
    """Global positions in the stream."""
    images: UInt8[Tensor, "batch channel height width"] | Float[Tensor, "batch channel height width"]
    token_ids: Int64[Tensor, "batch tokens"]
    token_lengths: Int64[Tensor, " batch"]
    truncated: Bool[Tensor, " batch"]
    sources: tuple[str, ...]
    """Which caption source or recipe each text is."""
    texts: tuple[str, ...]
    """The chosen captions, untokenized."""
    image_ids: Int64[Tensor, " batch"] | None = None
    """Numbers that are equal for pictures that were one download, or have the same bytes."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class _Decoded:
    key: str
    captions: Mapping[str, str]
    image_id: int
    pixels: np.ndarray
    """Decoded image, `height width channel`, uint8."""


@dataclass(frozen=True)
class _Drawn:
    location: Location
    position: int
    key: str
    choice: Choice
    image_id: int
    pixels: np.ndarray
    """Transformed image."""


class BatchMaker:
    """Make microbatches; holds what may be kept between them (open shards, decoded images, token ids)."""

    def __init__(
        self, stream: SampleStream, mix: CaptionMix, transform: Transform, tokenizer: TextTokenizer, seed: int
    ):
        self.stream = stream
        self._mix = mix
        self._transform = transform
        self._tokenizer = CachedTokenizer(tokenizer)
        self._seed = seed
        self._decoded: dict[int, _Decoded] = {}
        config = stream.config
        self._bytes_left = config.cache_mib * _MIB // max(1, config.num_workers)
        # A blank image shows the shape of an empty batch, and whether the transform does what it should.
        self._blank = transform(Image.new("RGB", (64, 48)), numpy_generator(seed, "blank"))

    def make(self, positions: Sequence[int]) -> tuple[ImageTextBatch, list[Served]]:
        """Return the batch of some positions, and what became of each of them."""
        drawn: list[_Drawn] = []
        skipped: list[Served] = []
        for position in positions:
            location = self.stream.locate(position)
            try:
                drawn.append(self._draw(location, position))
            except DecodeError as error:
                key = self.stream.read(location).qualified_key
                ordinal = self.stream.ordinal(location)
                skipped.append(Served(position=position, ordinal=ordinal, key=key, skipped=error.reason))
        batch = self._batch(drawn)
        return batch, [*self._served(drawn, batch), *skipped]

    def _draw(self, location: Location, position: int) -> _Drawn:
        decoded = self._decode(location)
        choice = self._mix.choose(decoded.captions, decoded.key, location.epoch, position)
        generator = numpy_generator(self._seed, "transform", location.epoch, decoded.key)
        pixels = self._transform(Image.fromarray(decoded.pixels), generator)
        return _Drawn(location, position, decoded.key, choice, decoded.image_id, pixels)

    def _decode(self, location: Location) -> _Decoded:
        ordinal = self.stream.ordinal(location)
        kept = self._decoded.get(ordinal)
        if kept is not None:
            return kept
        sample = self.stream.read(location)
        pixels = np.asarray(decode(sample.image, self.stream.config.max_pixels))
        decoded = _Decoded(sample.qualified_key, sample.captions, _image_id(sample), pixels)
        if pixels.nbytes <= self._bytes_left:
            self._bytes_left -= pixels.nbytes
            self._decoded[ordinal] = decoded
        return decoded

    def _batch(self, drawn: Sequence[_Drawn]) -> ImageTextBatch:
        texts = tuple(one.choice.text for one in drawn)
        tokens = self._tokenizer(texts)
        pixels = np.stack([one.pixels for one in drawn]) if drawn else self._blank[None][:0]
        return ImageTextBatch(
            keys=tuple(one.key for one in drawn),
            positions=tuple(one.position for one in drawn),
            images=torch.from_numpy(pixels),
            token_ids=tokens.ids,
            token_lengths=tokens.lengths,
            truncated=tokens.truncated,
            sources=tuple(one.choice.source for one in drawn),
            texts=texts,
            image_ids=torch.tensor([one.image_id for one in drawn], dtype=torch.int64),
        )

    def _served(self, drawn: Sequence[_Drawn], batch: ImageTextBatch) -> list[Served]:
        lengths, truncated = batch.token_lengths.tolist(), batch.truncated.tolist()
        return [
            Served(
                position=one.position,
                ordinal=self.stream.ordinal(one.location),
                key=one.key,
                source=one.choice.source,
                text=one.choice.text,
                fallback=one.choice.fallback,
                num_words=len(one.choice.text.split()),
                num_tokens=num_tokens,
                truncated=cut,
            )
            for one, num_tokens, cut in zip(drawn, lengths, truncated, strict=True)
        ]


def _image_id(sample: Sample) -> int:
    # The recorded digest is the download's: a picture that was fetched twice may have been encoded anew.
    digest = sample.sha256 or hashlib.blake2b(sample.image, digest_size=8).hexdigest()
    return derive(digest)
