"""What an evaluation needs to know of a run folder: its name, its seed and its exported weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.registry import RunEntry
from eval.suite import Subject, data_fingerprint, weights_sha256
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.yaml_files import read_mapping


def run_name(folder: Path) -> str:
    """Name a run as rows do, `<stage>/<name>`, from the last two parts of its folder."""
    resolved = folder.resolve()
    return f"{resolved.parent.name}/{resolved.name}"


def folder_of(root: Path, run: RunEntry) -> Path:
    """Return where a declared run lies: `<root>/<stage>/<name>`; the one foundation lies in `<root>/foundation`."""
    return root / "foundation" if run.stage == "foundation" else root / run.stage / run.name


def finished_folders(root: Path, runs: Sequence[RunEntry]) -> list[Path]:
    """List the folders of the runs that are finished."""
    return [folder_of(root, run) for run in runs if _is_finished(root, run)]


def _is_finished(root: Path, run: RunEntry) -> bool:
    """Tell by `done.json`, written last; shuffled captions have a mark for each shard of their source instead."""
    folder = folder_of(root, run)
    if run.recipe != "shuffle":
        return (folder / "done.json").exists()
    shards = [path.stem for path in (root / run.stage / run.captions).glob("*.parquet")]
    return bool(shards) and all((folder / f"{shard}_stats.json").exists() for shard in shards)


def truncated_share(root: Path, run: RunEntry) -> float | None:
    """Return the share of a run's training captions that were truncated; None where nothing was counted."""
    mark = folder_of(root, run) / "done.json"
    sources = read_object(mark).get("audit", {}).get("sources") if mark.is_file() else None
    return sum(facts["share"] * facts["truncated_share"] for facts in sources.values()) if sources else None


def run_config(folder: Path) -> dict[str, Any]:
    """Read a run's resolved config; an absent one is a UserError."""
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError("not a run folder", where=str(folder), found="no config.yaml", wanted="a trained run")
    return read_mapping(path, "config of the run")


def finished_run(folder: Path | None) -> Path:
    """Check that a run folder was given and that its run is finished."""
    if folder is None:
        raise UserError("no run to measure", where="run", fix="Pass --run RUN_FOLDER")
    if not (folder / "done.json").exists():
        raise UserError("the run is not finished", where=str(folder), found="no done.json", fix="Train it to the end")
    return folder


def subject_of(folder: Path, miniweb: Path) -> Subject:
    """Describe a finished run's exported weights as the subject of a measurement on the drawn web."""
    return published_subject(folder, data_fingerprint(miniweb))


def published_subject(folder: Path, fingerprint: str) -> Subject:
    """Describe a finished run's exported weights as the subject of a measurement on data of a fingerprint."""
    return Subject(
        run=run_name(folder),
        seed=int(run_config(folder).get("seed", 0)),
        checkpoint_sha256=weights_sha256(folder / "export"),
        data_fingerprint=fingerprint,
    )
