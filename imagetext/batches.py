"""One microbatch made from its positions: read, choose a caption, decode, transform, tokenize."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from imagetext.audit import Served, ServedCaption
from imagetext.decode import DecodeError, decode
from imagetext.mix import CaptionMix, Choice
from imagetext.order import Location
from imagetext.samples import CaptionScores, Sample
from imagetext.stored_pictures import StoredPictures
from imagetext.stream import SampleStream
from imagetext.token_cache import CachedTokenizer
from imagetext.tokenizers import TextTokenizer
from runtime.seeds import derive, numpy_generator

Transform = Callable[[Image.Image, np.random.Generator], np.ndarray]
"""From an RGB image and its own randomness to `channel height width`, uint8 or float, one shape for all images."""
_MIB = 1 << 20


@dataclass(frozen=True)
class CaptionGroup:
    """Hold one more caption of each image of a batch."""

    token_ids: Int64[Tensor, "batch tokens"]
    token_lengths: Int64[Tensor, " batch"]
    truncated: Bool[Tensor, " batch"]
    sources: tuple[str, ...]
    texts: tuple[str, ...]


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
    further: tuple[CaptionGroup, ...] = ()
    """What the images are seen with as well, in the order of the mix's `also`."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class _Decoded:
    key: str
    captions: Mapping[str, str]
    scores: CaptionScores | None
    image_id: int
    pixels: np.ndarray
    """Decoded image, `height width channel`, uint8."""


@dataclass(frozen=True)
class _Drawn:
    location: Location
    position: int
    key: str
    choices: tuple[Choice, ...]
    is_unscored: bool
    image_id: int
    pixels: np.ndarray
    """Transformed image."""


class BatchMaker:
    """Make microbatches; holds what may be kept between them (open shards, decoded images, token ids)."""

    def __init__(
        self,
        stream: SampleStream,
        mix: CaptionMix,
        pictures: Transform | StoredPictures,
        tokenizer: TextTokenizer,
        seed: int,
    ):
        """`pictures` transforms decoded images, or holds what was made of them ahead."""
        self.stream = stream
        self._mix = mix
        self._pictures = pictures
        self._tokenizer = CachedTokenizer(tokenizer)
        self._seed = seed
        self._decoded: dict[int, _Decoded] = {}
        config = stream.config
        self._bytes_left = config.cache_mib * _MIB // max(1, config.num_workers)
        # A blank image shows the shape of an empty batch, and whether the transform does what it should.
        self._blank = (
            pictures.blank()
            if isinstance(pictures, StoredPictures)
            else pictures(Image.new("RGB", (64, 48)), numpy_generator(seed, "blank"))
        )

    def make(self, positions: Sequence[int]) -> tuple[ImageTextBatch, list[Served]]:
        """Return the batch of some positions, and what became of each of them."""
        drawn: list[_Drawn] = []
        skipped: list[Served] = []
        for position in positions:
            location = self.stream.locate(position)
            try:
                drawn.append(self._draw(location, position))
            except DecodeError as error:
                key = self.stream.read(location, with_image=False).qualified_key
                ordinal = self.stream.ordinal(location)
                skipped.append(Served(position=position, ordinal=ordinal, key=key, skipped=error.reason))
        batch = self._batch(drawn)
        return batch, [*self._served(drawn, batch), *skipped]

    def _draw(self, location: Location, position: int) -> _Drawn:
        decoded, pixels = self._picture(location)
        choices = self._mix.choose_all(decoded.captions, decoded.key, location.epoch, position, decoded.scores)
        is_unscored = self._mix.config.scored_source is not None and decoded.scores is None
        return _Drawn(location, position, decoded.key, choices, is_unscored, decoded.image_id, pixels)

    def _picture(self, location: Location) -> tuple[_Decoded, np.ndarray]:
        """Return a sample and the picture that a batch holds of it."""
        if not isinstance(self._pictures, StoredPictures):
            decoded = self._decode(location)
            return decoded, self._pictures(Image.fromarray(decoded.pixels), self._generator(location, decoded.key))
        sample = self.stream.read(location, with_image=False)
        generator = self._generator(location, sample.qualified_key)
        pixels = self._pictures.read(sample, location.row_index, generator)
        return _Decoded(sample.qualified_key, sample.captions, sample.scores, _image_id(sample), pixels), pixels

    def _generator(self, location: Location, key: str) -> np.random.Generator:
        return numpy_generator(self._seed, "transform", location.epoch, key)

    def _decode(self, location: Location) -> _Decoded:
        ordinal = self.stream.ordinal(location)
        kept = self._decoded.get(ordinal)
        if kept is not None:
            return kept
        sample = self.stream.read(location)
        config = self.stream.config
        pixels = np.asarray(decode(sample.image, config.max_pixels, config.decode_min_side_px))
        decoded = _Decoded(sample.qualified_key, sample.captions, sample.scores, _image_id(sample), pixels)
        if pixels.nbytes <= self._bytes_left:
            self._bytes_left -= pixels.nbytes
            self._decoded[ordinal] = decoded
        return decoded

    def _batch(self, drawn: Sequence[_Drawn]) -> ImageTextBatch:
        first, *further = (self._group(drawn, group) for group in range(1 + len(self._mix.config.also)))
        pixels = np.stack([one.pixels for one in drawn]) if drawn else self._blank[None][:0]
        return ImageTextBatch(
            keys=tuple(one.key for one in drawn),
            positions=tuple(one.position for one in drawn),
            images=self._pictures.stacked(pixels)
            if isinstance(self._pictures, StoredPictures)
            else torch.from_numpy(pixels),
            token_ids=first.token_ids,
            token_lengths=first.token_lengths,
            truncated=first.truncated,
            sources=first.sources,
            texts=first.texts,
            image_ids=torch.tensor([one.image_id for one in drawn], dtype=torch.int64),
            further=tuple(further),
        )

    def _group(self, drawn: Sequence[_Drawn], group: int) -> CaptionGroup:
        texts = tuple(one.choices[group].text for one in drawn)
        tokens = self._tokenizer(texts)
        return CaptionGroup(
            token_ids=tokens.ids,
            token_lengths=tokens.lengths,
            truncated=tokens.truncated,
            sources=tuple(one.choices[group].source for one in drawn),
            texts=texts,
        )

    def _served(self, drawn: Sequence[_Drawn], batch: ImageTextBatch) -> list[Served]:
        groups = [(batch.token_lengths.tolist(), batch.truncated.tolist())]
        groups += [(group.token_lengths.tolist(), group.truncated.tolist()) for group in batch.further]
        return [
            Served(
                position=one.position,
                ordinal=self.stream.ordinal(one.location),
                key=one.key,
                captions=tuple(
                    _served_caption(choice, lengths[row], truncated[row])
                    for choice, (lengths, truncated) in zip(one.choices, groups, strict=True)
                ),
                unscored=one.is_unscored,
            )
            for row, one in enumerate(drawn)
        ]


def _served_caption(choice: Choice, num_tokens: int, truncated: bool) -> ServedCaption:
    return ServedCaption(
        source=choice.source,
        text=choice.text,
        fallback=choice.fallback,
        num_words=len(choice.text.split()),
        num_tokens=num_tokens,
        truncated=truncated,
    )


def _image_id(sample: Sample) -> int:
    # The recorded digest is the download's: a picture that was fetched twice may have been encoded anew. Where images
    # are not read, each sample without one stands for itself.
    own = hashlib.blake2b(sample.image, digest_size=8).hexdigest() if sample.image else sample.qualified_key
    return derive(sample.sha256 or own)
