"""A captioning job's folder, which any number of processes may fill at the same time.

It holds a sidecar per unit (`NNNNN.parquet`, then its mark `NNNNN_stats.json`), `config.yaml`, `provenance.json` with
every start, `job/manifest.json` with what shapes the captions and, last of all, `done.json`. Finished units are known
by their marks alone, from one listing of the folder.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.captioners.identity import ID_LENGTH
from recaption.captioners.opening import identify_captioner
from recaption.config import RecaptionConfig
from recaption.engine.attempts import ATTEMPTS
from recaption.executors.partition import Part
from recaption.inputs.units import Unit
from recaption.intake.opening import units_of_job
from recaption.job.locks import JobLock, one_at_a_time
from recaption.job.manifest import MANIFEST, Manifest, describe_job, read_manifest, refuse_other, write_manifest
from recaption.job.marks import (
    MARK_SUFFIX,
    UnitMark,
    finished_names,
    list_folder,
    read_marks,
    read_unit_mark,
    remove_unfinished,
)
from recaption.job.progress import summarise
from runtime import provenance
from runtime.atomic import remove_partials, write_json, write_text
from runtime.config import to_yaml
from runtime.errors import UserError
from runtime.json_files import read_object

DONE = "done.json"
CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
_LATE_SECONDS = 90.0
"""How long a network file system may hide what another machine wrote; NFS does for up to a minute."""
_CHECKED_AT_START = 64
"""Finished units whose input is compared when a job is continued; `verify` compares all."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An opened job: what there is to do here, and the locks held while it is done."""

    folder: Path
    manifest: Manifest
    units: Sequence[Unit]
    """All units of the input, in order."""
    pending: Sequence[Unit]
    """Unfinished units of this part, in order."""
    part: Part
    lock: JobLock

    def is_done(self) -> bool:
        """Tell whether every unit is finished and the job's own mark says so."""
        return (self.folder / DONE).exists()

    def facts(self) -> dict[str, Any]:
        """Return what the job's mark says, empty while there is none."""
        return read_object(self.folder / DONE) if self.is_done() else {}

    def finish(self, complete: Callable[[], None] | None = None) -> None:
        """Write the job's mark if every unit is finished, whoever finished it.

        Of several processes that end at the same time each lists the marks after its own last one, so that at least
        one sees all; when more do, they write the same facts. A process that did all alone waits for marks that other
        machines wrote and that its own shows late.

        `complete` is called before that, with all sidecars there: what it does must be harmless when done twice. Raises
        OSError when a mark of the whole job does not come.
        """
        names = [unit.name for unit in self.units]
        missing = set(names) - finished_names(self.folder)
        deadline = time.monotonic() + _LATE_SECONDS
        while missing and self.part.is_whole and time.monotonic() < deadline:
            time.sleep(1.0)
            missing -= finished_names(self.folder)
        if missing and self.part.is_whole:
            raise OSError(f"{self.folder}: {min(missing)} was captioned and has no mark: start the job again")
        if missing:
            return
        if complete is not None:
            complete()
        marks = read_marks(self.folder, names)
        totals = summarise((_of_manifest(self.folder, mark, self.manifest) for mark in marks), now=time.time())
        facts = {
            "manifest_sha256": self.manifest.sha256,
            "captioner_id": self.manifest.captioner_id,
            "prompt_id": self.manifest.prompt_id,
            "num_units": totals.num_units,
            "num_rows": totals.num_rows,
            "statuses": totals.statuses,
            "captioning_seconds": round(totals.active_seconds, 1),
        }
        write_json(self.folder / DONE, facts)


def open_job(config: RecaptionConfig) -> Job:
    """Begin or continue a job, or a part of it.

    Raises:
        UserError: when the folder's captions were shaped by other settings, model or versions, or its units made from
            another input, naming what differs; when another process captions the same.
    """
    units, part, folder = units_of_job(config), Part.parse(config.part), config.output_dir
    _refuse_repeated(units)
    wanted = describe_job(config, identify_captioner(config), len(units))
    _refuse_other_captions(folder, wanted)
    lock = JobLock(folder, part)
    with one_at_a_time(folder / MANIFEST.parent / ".starting.lock"):
        _agree(folder, wanted, alone=lock.is_alone())
        _record_start(folder, config)
    mine = part.choose(units)
    listing = list_folder(folder)
    _refuse_changed(folder, [unit for unit in units if unit.name in listing.finished], wanted)
    remove_unfinished(folder, listing, None if part.is_whole else {unit.name for unit in mine})
    if part.is_whole:
        for place in (folder / MANIFEST.parent, folder / ATTEMPTS):
            remove_partials(place)
    if not listing.finished.issuperset(unit.name for unit in units):
        # The input grew since the job was done.
        (folder / DONE).unlink(missing_ok=True)
    pending = [unit for unit in mine if unit.name not in listing.finished]
    return Job(folder=folder, manifest=wanted, units=units, pending=pending, part=part, lock=lock)


def _refuse_repeated(units: Sequence[Unit]) -> None:
    names = Counter(unit.name for unit in units)
    if len(names) < len(units):
        name, wanted = names.most_common(1)[0][0], "names of their own, since each names a sidecar"
        raise UserError("two units of the input have one name", where="input", found=name, wanted=wanted)


def _refuse_other_captions(folder: Path, wanted: Manifest) -> None:
    """Compare with the manifest found; a job that was refused before its first caption leaves its folder to another."""
    if not (folder / MANIFEST).exists():
        return
    found = read_manifest(folder)
    if found.sha256 != wanted.sha256 and finished_names(folder):
        refuse_other(found, wanted, folder)


def _agree(folder: Path, wanted: Manifest, *, alone: bool) -> None:
    """Compare once more, with the door closed: another part may have begun with other settings a moment ago."""
    if not alone and (folder / MANIFEST).exists():
        refuse_other(read_manifest(folder), wanted, folder)
    _refuse_other_captions(folder, wanted)
    write_manifest(folder, wanted)


def _refuse_changed(folder: Path, finished: Sequence[Unit], manifest: Manifest) -> None:
    """Compare some finished units' input and manifest with those of now: the first, the last and others between.

    A file that comes or goes in a folder shifts every slice after it, so the last finished unit tells of any that
    matters; and the job of a billion rows starts without opening each of its inputs.
    """
    last = len(finished) - 1
    checked = min(len(finished), _CHECKED_AT_START)
    for place in sorted({round(index * last / max(1, checked - 1)) for index in range(checked)}):
        unit = finished[place]
        mark = _of_manifest(folder, read_unit_mark(folder, unit.name), manifest)
        if mark.input_fingerprint != unit.fingerprint():
            raise UserError(
                f"the input of unit {unit.name} changed",
                where=folder,
                found=unit.fingerprint(),
                wanted=mark.input_fingerprint,
                fix="Give the input that was captioned, or choose another output_dir.",
            )


def _of_manifest(folder: Path, mark: UnitMark, manifest: Manifest) -> UnitMark:
    """Return a mark; raise UserError for one that came here from another job."""
    if mark.manifest_sha256 != manifest.sha256:
        raise UserError(
            f"unit {mark.name} was captioned under another manifest",
            where=folder / f"{mark.name}{MARK_SUFFIX}",
            found=mark.manifest_sha256[:ID_LENGTH] or "none",
            wanted=manifest.sha256[:ID_LENGTH],
            fix="Remove this mark to have the unit captioned again, or choose another output_dir.",
        )
    return mark


def _record_start(folder: Path, config: RecaptionConfig) -> None:
    write_text(folder / CONFIG, to_yaml(config))
    path = folder / PROVENANCE
    starts: list[Any] = read_object(path).get("starts", []) if path.exists() else []
    write_json(path, {"starts": [*starts, provenance.collect()]})
