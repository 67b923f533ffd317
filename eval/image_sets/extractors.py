"""What turns pictures into features, and by which name its distances go.

Only the Inception of 2015 gives what the literature calls FID; its weights are told by their digest, never fetched.
Any other extractor's distances carry its name and digest.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from imagetext import files
from runtime.errors import UserError

INCEPTION_SHA8 = "6726825d"
"""First digits of the SHA-256 of torch-fidelity's `weights-inception-2015-12-05-6726825d.pth`, part of its name."""
_POOLED = "2048"


@runtime_checkable
class Extractor(Protocol):
    """Features of pictures, and the names of distances between them."""

    @property
    def suffix(self) -> str:
        """Return what stands behind FD, KD, precision and recall."""
        ...

    @property
    def description(self) -> str:
        """Return the extractor with the digest of its weights, and what it does to a picture first."""
        ...

    def features(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "pictures width"]:
        """Return a row for each picture, float64."""
        ...


@dataclass(frozen=True)
class Inception:
    """The network of 2015 as torch-fidelity runs it, TensorFlow 1's bilinear resize included."""

    network: Any
    sha8: str
    device: torch.device

    @property
    def suffix(self) -> str:
        """Return nothing for the registered weights; other weights of this network are an extractor of their own."""
        return "" if self.sha8 == INCEPTION_SHA8 else f"[inception-{self.sha8}]"

    @property
    def description(self) -> str:
        """Return the extractor in words."""
        return f"Inception {self.sha8} by torch-fidelity, 2048 features, bilinear resize to 299 px in the network"

    @torch.inference_mode()
    def features(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "pictures width"]:
        """Return a row of 2048 features for each picture; pictures of one size are computed together."""
        rows: dict[int, np.ndarray] = {}
        for size in sorted({picture.size for picture in pictures}):
            places = [place for place, picture in enumerate(pictures) if picture.size == size]
            pixels = np.stack([np.asarray(pictures[place]) for place in places]).transpose(0, 3, 1, 2)
            (found,) = self.network(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device))
            rows.update(zip(places, found.double().cpu().numpy(), strict=True))
        return np.stack([rows[place] for place in range(len(pictures))])


@dataclass(frozen=True)
class ClipTower:
    """The image tower of an open_clip directory: unit features, by the directory's own transform."""

    encoder: Any
    name: str

    @property
    def suffix(self) -> str:
        """Return name and digest."""
        return f"[{self.name}-{self.encoder.checkpoint_sha256[:8]}]"

    @property
    def description(self) -> str:
        """Return the extractor in words."""
        return f"{self.name} {self.encoder.checkpoint_sha256[:8]}, unit features, its own transform"

    def features(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "pictures width"]:
        """Return a row of unit features for each picture."""
        return np.asarray(self.encoder.encode_images(pictures, len(pictures)).double().numpy())


def load_inception(weights: Path, device: torch.device) -> Inception:
    """Load Inception from a file; raises UserError without the file, without torch-fidelity, and for other weights."""
    if not weights.is_file():
        fix = "Fetch it from torch-fidelity's releases, or use --extractors"
        raise UserError("no weights of Inception here", where=weights, found="no such file", fix=fix)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise UserError(
            "torch-fidelity is not installed", where="inception", fix="pip install openrecap[eval]"
        ) from None
    try:
        # Its own loader would run whatever a pickle holds; a file of tensors alone is safe to give to it.
        torch.load(weights, weights_only=True, map_location="cpu")
        network = FeatureExtractorInceptionV3("inception", [_POOLED], feature_extractor_weights_path=str(weights))
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        found = str(error).splitlines()[0][:200]
        raise UserError("not the weights of this Inception", where=weights, found=found) from None
    return Inception(network.to(device), files.sha256(weights)[:8], device)
