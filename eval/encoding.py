"""Encode every picture and text of all test sets once, shared among the processes that were started together.

The distinct keys in their order are parted into blocks, and block i belongs to rank i mod the number of ranks. What a
block's batches hold depends on neither, so any number of ranks gives the same embeddings; they meet in the cache.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from eval.clip_models import ClipModel
from eval.datasets.samples import Picture, TestSet
from eval.embedding_cache import EmbeddingCache
from runtime import launch
from runtime.errors import UserError
from runtime.progress import Progress

T = TypeVar("T")
BATCHES_PER_BLOCK = 8
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Things in order with their features; equal things have one row, so that their scores tie exactly."""

    rows: Float[np.ndarray, "distinct width"]
    index: np.ndarray
    """Row of each thing."""

    @property
    def each(self) -> Float[np.ndarray, "thing width"]:
        """Return one feature vector a thing."""
        return self.rows[self.index]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """All embeddings of some test sets, and what identifies each picture."""

    keys_of_pictures: Mapping[Picture, str]
    keys_of_texts: Mapping[str, str]
    pictures_cache: EmbeddingCache
    texts_cache: EmbeddingCache

    def pictures(self, pictures: Sequence[Picture]) -> Embedded:
        """Return the features of pictures, in order."""
        return _embedded([self.keys_of_pictures[each] for each in pictures], self.pictures_cache)

    def texts(self, texts: Sequence[str]) -> Embedded:
        """Return the features of texts, in order."""
        return _embedded([self.keys_of_texts[each] for each in texts], self.texts_cache)

    def fingerprint(self, test_set: TestSet) -> str:
        """Hash a test set's pictures, as bytes, and its annotations."""
        parts = [test_set.annotation_sha256(), *(self.keys_of_pictures[each] for each in test_set.pictures())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def encode(
    model: ClipModel,
    test_sets: Sequence[TestSet],
    caches: tuple[EmbeddingCache, EmbeddingCache],
    *,
    batch_size: int,
    num_threads: int,
) -> Encoding | None:
    """Encode this rank's part; the main process returns when all parts are there, the others return None.

    Raises UserError for a missing or damaged image and for an embedding that is not finite.
    """
    pictures = list(dict.fromkeys(picture for each in test_sets for picture in each.pictures()))
    texts = list(dict.fromkeys(text for each in test_sets for text in each.texts()))
    with ThreadPoolExecutor(num_threads) as threads:
        keys_of_pictures = dict(zip(pictures, threads.map(_picture_key, pictures), strict=True))
        keys_of_texts = dict(zip(texts, _text_keys(model, texts), strict=True))
        works = (
            _picture_work(model, threads, _first_of_each(keys_of_pictures), batch_size),
            _text_work(model, _first_of_each(keys_of_texts), batch_size),
        )
        for cache, work in zip(caches, works, strict=True):
            _encode_own_blocks(cache, work, batch_size * BATCHES_PER_BLOCK)
    if not launch.is_main_process():
        return None
    for cache, work in zip(caches, works, strict=True):
        _wait_for(cache, work.keys)
    return Encoding(
        keys_of_pictures=keys_of_pictures,
        keys_of_texts=keys_of_texts,
        pictures_cache=caches[0],
        texts_cache=caches[1],
    )


@dataclass(frozen=True)
class _Work:
    """Distinct keys, and what makes a batch after the other of some of them."""

    keys: Sequence[str]
    batches: Callable[[Sequence[str]], Iterator[Float[np.ndarray, "key width"]]]


def _picture_work(
    model: ClipModel, threads: ThreadPoolExecutor, pictures: Mapping[str, Picture], batch_size: int
) -> _Work:
    def batches(keys: Sequence[str]) -> Iterator[Float[np.ndarray, "key width"]]:
        prepared = threads.map(lambda key: _prepared(model, pictures[key]), keys)
        for start in range(0, len(keys), batch_size):
            yield model.encode_pictures([next(prepared) for _ in keys[start : start + batch_size]])

    return _Work(list(pictures), batches)


def _text_work(model: ClipModel, texts: Mapping[str, str], batch_size: int) -> _Work:
    def batches(keys: Sequence[str]) -> Iterator[Float[np.ndarray, "key width"]]:
        for start in range(0, len(keys), batch_size):
            yield model.encode_texts([texts[key] for key in keys[start : start + batch_size]])

    return _Work(list(texts), batches)


def _first_of_each(keys: Mapping[T, str]) -> dict[str, T]:
    first: dict[str, T] = {}
    for thing, key in keys.items():
        first.setdefault(key, thing)
    return first


def _encode_own_blocks(cache: EmbeddingCache, work: _Work, block_size: int) -> None:
    blocks = [work.keys[start : start + block_size] for start in range(0, len(work.keys), block_size)]
    own = [cache.missing(block) for block in blocks[launch.rank() :: launch.world_size()]]
    total, unit = sum(map(len, own)), "embeddings"
    with Progress(total=total, unit=unit, label="encoded", enabled=launch.is_main_process()) as progress:
        for block in filter(None, own):
            cache.add(block, np.concatenate(list(work.batches(block))))
            progress.advance(len(block))


def _wait_for(cache: EmbeddingCache, keys: Sequence[str]) -> None:
    last, deadline = -1, 0.0
    while missing := cache.missing(keys):
        if len(missing) != last:
            last, deadline = len(missing), time.monotonic() + launch.PATIENCE_SECONDS
        if time.monotonic() >= deadline:
            found = f"{last} embeddings missing, none new in {launch.PATIENCE_SECONDS:.0f} seconds"
            raise UserError("the other processes have not done their part", found=found, fix="Run it again")
        time.sleep(_PAUSE_SECONDS)
        cache.refresh()


def _embedded(keys: Sequence[str], cache: EmbeddingCache) -> Embedded:
    rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    features = cache.features(list(rows)).astype(np.float64)
    return Embedded(rows=features, index=np.array([rows[key] for key in keys]))


def _picture_key(picture: Picture) -> str:
    crop = "" if picture.crop is None else " " + ",".join(map(str, picture.crop))
    return hashlib.sha256(picture.read()).hexdigest() + crop


def _text_keys(model: ClipModel, texts: Sequence[str], chunk: int = 4096) -> Iterator[str]:
    """Yield the hash of each text's token ids: texts that are cut to the same tokens are one to the model."""
    for start in range(0, len(texts), chunk):
        for ids in model.token_ids(texts[start : start + chunk]):
            yield hashlib.sha256(np.ascontiguousarray(ids, dtype=np.int64).tobytes()).hexdigest()


def _prepared(model: ClipModel, picture: Picture) -> Tensor:
    return model.prepare(picture.open(picture.read()))
