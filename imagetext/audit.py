"""What a loader served: counted, so that two runs can prove that they saw the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from runtime.intervals import share_interval
from runtime.seeds import derive

_FINGERPRINT_BITS = 64


@dataclass(frozen=True, kw_only=True)
class ServedCaption:
    """Tell what caption a sample was seen with."""

    source: str
    text: str
    fallback: bool = False
    num_words: int = 0
    num_tokens: int = 0
    truncated: bool = False


@dataclass(frozen=True, kw_only=True)
class Served:
    """Tell what became of one sample that was drawn."""

    position: int
    ordinal: int
    """Number of the sample in the order on disk."""
    key: str
    """Data-set-qualified key."""
    skipped: str | None = None
    """Reason for which the sample left a hole."""
    captions: tuple[ServedCaption, ...] = ()
    """The captions it was seen with in one step."""
    unscored: bool = False
    """Whether its captions have no scores though its share goes by them."""


@dataclass
class _SourceCounts:
    count: int = 0
    fallbacks: int = 0
    empty: int = 0
    words: int = 0
    tokens: int = 0
    truncated: int = 0


@dataclass
class Audit:
    """Count drawn, distinct and skipped samples, and shares, lengths and truncation of each caption source.

    The fingerprint adds up (mod 2^64) a digest of each sample's position, key, caption source and caption: it does not
    depend on ranks or workers, and the fingerprints of two halves of a run add up to that of the whole.
    """

    num_samples: int
    """Samples of the data set."""
    drawn: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    last_skipped: str = ""
    unscored: int = 0
    """Samples that had another share than that of their scores, because they have none."""
    _sources: dict[str, _SourceCounts] = field(default_factory=dict)
    _fingerprint: int = 0
    _seen: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._seen = np.zeros(self.num_samples, dtype=np.bool_)

    @property
    def num_skipped(self) -> int:
        """Return the number of samples that left a hole."""
        return sum(self.skipped.values())

    def add(self, served: Sequence[Served]) -> None:
        """Count the samples of one batch, holes included."""
        self.drawn += len(served)
        self._seen[[one.ordinal for one in served]] = True
        for one in served:
            # A hole counts like an empty caption of no source.
            texts = [part for caption in one.captions for part in (caption.source, caption.text)] or ["", ""]
            digest = derive(one.position, one.key, *texts)
            self._fingerprint = (self._fingerprint + digest) % (1 << _FINGERPRINT_BITS)
            if one.skipped is not None:
                self.skipped[one.skipped] += 1
                self.last_skipped = one.key
            else:
                self.unscored += one.unscored
                for caption in one.captions:
                    self._add_caption(caption)

    def as_dict(self) -> dict[str, object]:
        """Return the counts as plain JSON types; shares are of the captions of samples that were not skipped."""
        num_captions = sum(counts.count for counts in self._sources.values())
        distinct = int(self._seen.sum())
        return {
            "drawn": self.drawn,
            "distinct": distinct,
            "repeated": self.drawn - distinct,
            "skipped": dict(sorted(self.skipped.items())),
            **({"unscored": self.unscored} if self.unscored else {}),
            "sources": {name: _summary(counts, num_captions) for name, counts in sorted(self._sources.items())},
            "keys_fingerprint": f"{self._fingerprint:016x}",
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as plain types and a tensor, for a checkpoint."""
        return {
            "drawn": self.drawn,
            "skipped": dict(self.skipped),
            "last_skipped": self.last_skipped,
            "unscored": self.unscored,
            "sources": {name: asdict(counts) for name, counts in self._sources.items()},
            "fingerprint": self._fingerprint,
            "seen": torch.from_numpy(np.packbits(self._seen)),
        }

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add counts that another process or an earlier run has saved."""
        self.drawn += state["drawn"]
        self.skipped.update(state["skipped"])
        self.last_skipped = state["last_skipped"] or self.last_skipped
        self.unscored += state.get("unscored", 0)
        for name, saved in state["sources"].items():
            counts = self._sources.setdefault(name, _SourceCounts())
            for field_name, value in saved.items():
                setattr(counts, field_name, getattr(counts, field_name) + value)
        self._fingerprint = (self._fingerprint + state["fingerprint"]) % (1 << _FINGERPRINT_BITS)
        self._seen |= np.unpackbits(state["seen"].numpy(), count=self.num_samples).astype(np.bool_)

    def _add_caption(self, one: ServedCaption) -> None:
        counts = self._sources.setdefault(one.source, _SourceCounts())
        counts.count += 1
        counts.fallbacks += one.fallback
        counts.empty += one.num_words == 0
        counts.words += one.num_words
        counts.tokens += one.num_tokens
        counts.truncated += one.truncated


def _summary(counts: _SourceCounts, num_captions: int) -> dict[str, Any]:
    share = share_interval(counts.count, num_captions)
    return {
        "count": counts.count,
        "share": share.value,
        "share_interval": [share.low, share.high],
        "fallbacks": counts.fallbacks,
        "empty": counts.empty,
        "mean_length_words": counts.words / counts.count,
        "mean_length_tokens": counts.tokens / counts.count,
        "truncated_share": counts.truncated / counts.count,
    }
