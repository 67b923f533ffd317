"""Embeddings of images and texts, each computed once however many tasks ask for it."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from imagetext.decode import decode


@runtime_checkable
class Encoder(Protocol):
    """What a contrastive model offers: unit features, float32 on the CPU."""

    def encode_images(self, images: Sequence[Image.Image], batch_size: int = ...) -> Tensor:
        """Return features of shape (images, width)."""
        ...

    def encode_texts(self, texts: Sequence[str], batch_size: int = ...) -> Tensor:
        """Return features of shape (texts, width)."""
        ...

    def truncated(self, texts: Sequence[str]) -> Tensor:
        """Tell which texts lose words to the context length."""
        ...


class Embeddings:
    """A cache in front of an encoder: images by the hash of their bytes, texts by themselves."""

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        """Start empty."""
        self._encoder, self._batch_size = encoder, batch_size
        self._images: dict[str, np.ndarray] = {}
        self._texts: dict[str, np.ndarray] = {}

    def images(self, encoded: Sequence[bytes]) -> Float[np.ndarray, "image width"]:
        """Embed encoded images in the order given."""
        keys = [hashlib.sha256(data).hexdigest() for data in encoded]
        missing = {key: data for key, data in zip(keys, encoded, strict=True) if key not in self._images}
        names = list(missing)
        for start in range(0, len(names), self._batch_size):
            chosen = names[start : start + self._batch_size]
            pictures = [decode(missing[name]) for name in chosen]
            features = self._encoder.encode_images(pictures, self._batch_size).double().numpy()
            self._images.update(zip(chosen, features, strict=True))
        return np.stack([self._images[key] for key in keys])

    def texts(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """Embed texts in the order given."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._texts))
        # Texts of one length share a batch, so that little is spent on padding.
        missing.sort(key=len)
        if missing:
            features = self._encoder.encode_texts(missing, self._batch_size).double().numpy()
            self._texts.update(zip(missing, features, strict=True))
        return np.stack([self._texts[text] for text in texts])

    def truncated(self, texts: Sequence[str]) -> Bool[np.ndarray, " text"]:
        """Tell which texts lose words to the context length."""
        return self._encoder.truncated(texts).numpy()
