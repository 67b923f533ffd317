"""One image and its captions, as they travel through the house."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

ORIGINAL = "original"
"""The caption source that came with the image from the web."""


class CaptionScores(NamedTuple):
    """How well a picture's two captions fit it, on one scale."""

    recaption: float
    original: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Hold one encoded image and its captions by source."""

    key: str
    """Name inside the data set; for shards the shard's digits and the row's digits."""
    dataset: str
    """Name of the data set; with the key it names the sample among all data sets."""
    shard: str
    """Name of the shard that holds the sample."""
    image: bytes
    """The encoded image (JPEG, PNG, ...)."""
    captions: Mapping[str, str]
    """Captions by source: "original", "recaption", ..."""
    uid: str | None = None
    url: str | None = None
    sha256: str | None = None
    """Digest of the image as first downloaded, as recorded: not of the bytes held here."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    scores: CaptionScores | None = None
    """Scores of its captions, where they were asked for and there are any."""

    @property
    def qualified_key(self) -> str:
        """Return the name of the sample among all data sets."""
        return f"{self.dataset}/{self.key}"
