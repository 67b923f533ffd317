"""One image and its captions, as they travel through the house."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ORIGINAL = "original"
"""The caption source that came with the image from the web."""


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

    @property
    def qualified_key(self) -> str:
        """Return the name of the sample among all data sets."""
        return f"{self.dataset}/{self.key}"
