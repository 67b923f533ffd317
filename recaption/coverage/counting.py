"""Count what became of one's own rows in an import, sidecar by sidecar."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from imagetext.sidecars import read_sidecar_table
from recaption.exchange.importing import DONE
from recaption.exchange.joining import CAPTIONER_ID, NOT_PUBLISHED
from recaption.exchange.published_files import is_caption
from recaption.inputs.units import SUCCESS
from recaption.job.reopening import finished_of
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress

PUBLISHED_URL = "published_url"


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What an import came to."""

    num_shards: int
    num_rows: int
    """Own rows, dead links included."""
    statuses: Mapping[str, int]
    dead_links: Mapping[str, int]
    """Rows without a picture by status and reason, the commonest first; numbers but HTTP's read N."""
    num_without_digest: int
    """Rows with a picture and no recorded sha256."""
    num_unmatched: int
    """Rows with a picture whose sha256 no published row has."""
    num_matched: int
    num_matched_by_several: int
    """Rows whose sha256 several published rows have."""
    num_same_url: int
    """Matched rows whose published row has their URL."""
    num_repeated_digests: int
    """Rows with a picture whose sha256 an earlier own row has."""
    captions: Mapping[str, int]
    """Rows with a text in each caption column: re_caption is the first version, others the later ones."""
    caption_sets: Mapping[str, int]
    """Rows by the caption columns that have a text, joined by " + "."""
    mean_words: Mapping[str, float]
    """Of each column's captions."""
    num_published_read: int
    """Published rows."""
    num_published_matched: int
    """Published rows whose sha256 an own row has."""


@dataclass
class _Counts:
    statuses: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    sets: Counter[str] = field(default_factory=Counter)
    captions: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    digests: list[np.ndarray] = field(default_factory=list)


def count_coverage(folder: Path) -> Coverage:
    """Return what an import came to.

    Raises UserError for a folder that holds no finished import, or the captions of a run.
    """
    names, done = finished_of(folder), _facts(folder)
    counts = _Counts()
    with Progress(total=len(names), unit="shards", label="coverage") as progress:
        for name in names:
            _add(counts, read_sidecar_table(folder, name))
            progress.advance()
    digests = np.concatenate(counts.digests) if counts.digests else np.zeros(0, np.uint64)
    return Coverage(
        num_shards=len(names),
        num_rows=sum(counts.statuses.values()),
        statuses=dict(sorted(counts.statuses.items())),
        dead_links=dict(counts.dead.most_common()),
        num_without_digest=counts.numbers["without_digest"],
        num_unmatched=counts.numbers["unmatched"],
        num_matched=int(done.get("matched", 0)),
        num_matched_by_several=int(done.get("matched_by_several", 0)),
        num_same_url=counts.numbers["same_url"],
        num_repeated_digests=len(digests) - len(np.unique(digests)),
        captions=dict(counts.captions),
        caption_sets=dict(counts.sets.most_common()),
        mean_words={name: counts.words[name] / count for name, count in counts.captions.items() if count},
        num_published_read=int(done.get("published_rows_read", 0)),
        num_published_matched=int(done.get("published_rows_matched", 0)),
    )


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / DONE
    done = read_object(path) if path.exists() else {}
    if done.get("captioner_id") != CAPTIONER_ID:
        found = "no done.json" if not done else f"captions of {done.get('captioner_id')}"
        fix = "Give the folder of a finished import"
        raise UserError("no finished import of the published captions", where=folder, found=found, fix=fix)
    return done


def _add(counts: _Counts, table: pyarrow.Table) -> None:
    statuses, messages = (table.column(name).to_pylist() for name in ("status", "error_message"))
    counts.statuses.update(statuses)
    alive = np.array([status in (SUCCESS, NOT_PUBLISHED) for status in statuses], dtype=np.bool_)
    dead = zip(statuses, messages, alive, strict=True)
    counts.dead.update(f"{status}: {_general(message)}" for status, message, lives in dead if not lives)
    digests = table.column("sha256").to_pylist()
    has_digest = np.array([bool(digest) for digest in digests], dtype=np.bool_)
    unmatched = np.array([status == NOT_PUBLISHED for status in statuses], dtype=np.bool_)
    counts.numbers["without_digest"] += int((alive & ~has_digest).sum())
    counts.numbers["unmatched"] += int((unmatched & has_digest).sum())
    known = [digest for digest, one in zip(digests, alive & has_digest, strict=True) if one]
    # 64 bits of a digest tell rows apart well enough to count repeats, in a tenth of the memory.
    counts.digests.append(np.array([int(digest[:16], 16) for digest in known], dtype=np.uint64))
    _add_captions(counts, table)
    if PUBLISHED_URL in table.schema.names:
        same = pyarrow.compute.equal(table.column("url"), table.column(PUBLISHED_URL))
        counts.numbers["same_url"] += int(pyarrow.compute.sum(same).as_py() or 0)


def _add_captions(counts: _Counts, table: pyarrow.Table) -> None:
    columns = [name for name in table.schema.names if is_caption(name)]
    texts = {name: table.column(name).to_pylist() for name in columns}
    for name in columns:
        held = [text for text in texts[name] if (text or "").strip()]
        counts.captions[name] += len(held)
        counts.words[name] += sum(len(text.split()) for text in held)
    rows = zip(*texts.values(), strict=True)
    counts.sets.update(_set_of(columns, row) for row in rows)


def _set_of(columns: Sequence[str], texts: Sequence[str | None]) -> str:
    return " + ".join(name for name, text in zip(columns, texts, strict=True) if (text or "").strip()) or "none"


def _general(message: str | None) -> str:
    # Numbers of three digits stay: HTTP's.
    return re.sub(r"\d+", lambda number: number[0] if len(number[0]) == 3 else "N", " ".join((message or "").split()))
