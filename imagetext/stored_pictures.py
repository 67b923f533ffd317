"""Pictures that were made ahead of training, in place of images that are read and decoded in it."""

from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from imagetext.samples import Sample


@runtime_checkable
class StoredPictures(Protocol):
    """What a loader asks for pictures by the samples they belong to; it then reads captions alone."""

    def blank(self) -> np.ndarray:
        """Return an array of the shape and type of any picture."""

    def read(self, sample: Sample, row_index: int, generator: np.random.Generator) -> np.ndarray:
        """Return the picture of a sample, which is row `row_index` of its shard; randomness comes from `generator`.

        Raises DecodeError where there is none, UserError where the pictures are not those of this shard.
        """

    def stacked(self, pictures: np.ndarray) -> Tensor:
        """Return pictures that lie one after another in one array as a batch's tensor."""

    def fingerprint(self) -> str:
        """Return a digest of what the pictures are."""
