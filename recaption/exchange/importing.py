"""Import the published captions as sidecars of one's own shards.

One's own digests are put into memory, as numbers and some thousand shards at a time, and the published files are read
once for each such pass. So nothing of the published side (1.2 billion rows, 430 GB) is copied but what one's own
shards match, where sorting both sides into buckets would write all of it first; and memory is bounded by the sizes of
passes and groups, whatever the sizes of the two sides. Matched rows wait on disk until their shards' turn comes.

A stopped import goes on: a published file is read again only where its matched rows are missing, a sidecar is written
again only where its mark is missing.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext import files
from imagetext.sidecars import is_complete, write_sidecar
from recaption.exchange.digest_index import DigestIndex
from recaption.exchange.import_config import ImportConfig
from recaption.exchange.joining import PublishedCaptions, own_types
from recaption.exchange.matched_rows import count_rows, keep_matched, read_group
from recaption.exchange.published_files import PublishedFile, caption_columns, list_published, number_types
from recaption.inputs.shard_units import ShardUnit, list_shard_units
from runtime.atomic import make_folder, remove_partials, write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress

WORK = Path("job") / "import"
DONE = "done.json"


def import_captions(config: ImportConfig) -> dict[str, Any]:
    """Write a sidecar for every own shard and return what was counted; a finished import returns at once.

    Raises:
        UserError: for a folder that holds another import, shards without recorded digests, published files that are
            damaged or hold no captions.
    """
    units, published = list_shard_units(config.shards), list_published(config.published)
    _claim(config, units, published)
    if (config.output_dir / DONE).exists():
        return read_object(config.output_dir / DONE)
    captions, counts = caption_columns(published), Counter[str]()
    starts = range(0, len(units), config.shards_per_pass)
    with Progress(total=len(starts) * len(published) + len(units), unit="files", label="import") as progress:
        for number, start in enumerate(starts):
            counts += _Pass(config, number, units[start : start + config.shards_per_pass], published).run(
                captions, progress
            )
    facts = {"captioner_id": "Recap-DataComp-1B", "num_units": len(units), **dict(sorted(counts.items()))}
    write_json(config.output_dir / DONE, facts)
    return facts


class _Pass:
    """As many own shards as have their digests in memory at once."""

    def __init__(
        self, config: ImportConfig, number: int, units: Sequence[ShardUnit], published: Sequence[PublishedFile]
    ):
        self._config = config
        self._published = published
        self._folder = make_folder(config.output_dir / WORK / f"pass-{number:05d}")
        size = config.shards_in_memory
        self._groups = [units[start : start + size] for start in range(0, len(units), size)]
        remove_partials(self._folder)

    def run(self, captions: Sequence[str], progress: Progress) -> Counter[str]:
        """Write the sidecars of the pass and return what was counted."""
        report = self._folder.with_suffix(".json")
        if not report.exists():
            self._keep_matched(progress)
            counts = self._write_sidecars(captions, progress)
            num_rows, num_matched = count_rows([self._place(file) for file in self._published])
            write_json(report, {**counts, "published_rows_read": num_rows, "published_rows_matched": num_matched})
        # The matched rows are in the sidecars now.
        shutil.rmtree(self._folder, ignore_errors=True)
        return Counter({name: int(count) for name, count in read_object(report).items()})

    def _keep_matched(self, progress: Progress) -> None:
        waiting = [file for file in self._published if not self._place(file).exists()]
        progress.advance(len(self._published) - len(waiting))
        if not waiting:
            return
        index = DigestIndex((group, unit.identities()) for group, units in enumerate(self._groups) for unit in units)
        for file in waiting:
            keep_matched(file, index, self._place(file))
            progress.advance(1)
            progress.show({"read": files.name_of(file.location)})

    def _write_sidecars(self, captions: Sequence[str], progress: Progress) -> Counter[str]:
        counts, numbers = Counter[str](), number_types(self._published)
        for number, units in enumerate(self._groups):
            report = self._folder / f"group-{number:05d}.json"
            if not report.exists():
                write_json(report, self._write_group(number, units, captions, own_types(numbers)))
            counts.update(read_object(report))
            progress.advance(len(units))
            progress.show({"shard": units[-1].name})
        return counts

    def _write_group(
        self, number: int, units: Sequence[ShardUnit], captions: Sequence[str], types: Mapping[str, Any]
    ) -> Counter[str]:
        counts = Counter[str]()
        table = read_group([self._place(file) for file in self._published], number)
        published = PublishedCaptions(table, captions)
        for unit in units:
            rows = published.join(unit.listed_rows(), counts)
            if not is_complete(self._config.output_dir, unit.name):
                own = {**unit.column_types(), **types}
                write_sidecar(self._config.output_dir, unit.name, rows, own_types=own)
        return counts

    def _place(self, file: PublishedFile) -> Path:
        return self._folder / f"{file.number:06d}.parquet"


def _claim(config: ImportConfig, units: Sequence[ShardUnit], published: Sequence[PublishedFile]) -> None:
    """Refuse a folder that holds something of other captions or other shards, or was begun in other passes."""
    path = config.output_dir / WORK / "plan.json"
    plan = {
        "shards": hashlib.sha256("\n".join(unit.name for unit in units).encode()).hexdigest(),
        "published": [[files.name_of(file.location), files.size_bytes(file.location)] for file in published],
        "shards_per_pass": config.shards_per_pass,
        "shards_in_memory": config.shards_in_memory,
    }
    fix = "Choose another output_dir, or delete the folder to start again."
    begun = any(config.output_dir.glob("*_stats.json")) or any(path.parent.glob("*/*.parquet"))
    if begun and not path.exists():
        raise UserError("folder holds sidecars that were not imported", where=config.output_dir, fix=fix)
    found = read_object(path) if begun else plan
    for name, wanted in plan.items():
        if found.get(name) != wanted:
            what = f"this folder holds another import, differing in {name!r}"
            raise UserError(what, where=config.output_dir, fix=fix)
    make_folder(path.parent)
    write_json(path, plan)
