"""The runs of an experiment as the tables need to know them, read from `configs/experiments/<preset>.yaml`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from runtime.errors import UserError
from runtime.yaml_files import read_mapping

_PLURALS = {"seeds": "seed", "original_shares": "original_share"}
STAGES = ("foundation", "captioner", "recaption", "clip", "dit")


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """One run's place in the design of the experiment."""

    name: str
    """Folder name below the stage, such as `b_base-p0.8-s0`."""
    stage: str
    """One of foundation, captioner, recaption, clip, dit."""
    model: str = ""
    """Size preset of the model, such as `b_base` or `l`."""
    original_share: float | None = None
    """Share of original captions in the training mix; null for stages that mix nothing."""
    recipe: str = "recaption"
    """What the other share of captions is: recaption, concat, ...; of recaption runs: shuffle, modes (`eval.modes`)."""
    seed: int = 0
    """Training seed; runs of two arms with one seed are a pair."""
    captions: str = "recaption"
    """Who wrote the new captions: a folder below `recaption/`, or `oracle` for captions straight from the truth."""
    knockout: str | None = None
    """Knockout the run belongs to (K1 to K4), null for the experiment proper."""

    def __post_init__(self) -> None:
        """Refuse a stage or share that no table could place."""
        if self.stage not in STAGES:
            raise UserError("unknown stage", where=f"run {self.name}", found=self.stage, wanted=" | ".join(STAGES))
        if self.original_share is not None and not 0.0 <= self.original_share <= 1.0:
            raise UserError(
                "original_share out of range", where=f"run {self.name}", found=self.original_share, wanted="0 to 1"
            )

    @property
    def qualified_name(self) -> str:
        """Give the name that rows carry, `<stage>/<name>`."""
        return f"{self.stage}/{self.name}"

    def matches(self, selector: Mapping[str, object]) -> bool:
        """Tell whether every field of the selector has this run's value."""
        return all(getattr(self, field) == wanted for field, wanted in selector.items())


RUN_FIELDS = tuple(field.name for field in fields(RunEntry))


@dataclass(frozen=True, kw_only=True)
class Experiments:
    """Every run of a preset, in the order declared."""

    preset: str
    runs: tuple[RunEntry, ...]

    def select(self, **selector: object) -> list[RunEntry]:
        """List the runs whose fields equal the selector's, by training seed."""
        return sorted((run for run in self.runs if run.matches(selector)), key=lambda run: (run.seed, run.name))


def load_experiments(path: Path) -> Experiments:
    """Read the runs of an experiments file; runner and tables read the same entries.

    A record may say `seeds: [...]` and `original_shares: [...]` instead of one value: it stands for every combination,
    and its name holds `{seed}` and `{original_share}`. Unknown keys, missing files and doubled runs raise `UserError`.
    """
    document = read_mapping(path, "experiments file")
    if not isinstance(document.get("runs"), list):
        raise UserError("no list of runs", where=str(path), wanted="a mapping with the keys preset and runs")
    records = [
        expanded
        for index, record in enumerate(document["runs"])
        for expanded in _expand(record, f"{path}: runs[{index}]")
    ]
    runs = tuple(_entry(record, where) for record, where in records)
    _refuse_duplicates(runs, path)
    return Experiments(preset=str(document.get("preset", path.stem)), runs=runs)


def _expand(record: object, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield one record per combination of the lists `seeds` and `original_shares`."""
    if not isinstance(record, dict) or "name" not in record or "stage" not in record:
        raise UserError("a run needs a name and a stage", where=where, found=record)
    for plural in _PLURALS:
        if plural in record and not isinstance(record[plural], list):
            raise UserError(f"wrong value for {plural}", where=where, found=record[plural], wanted="a list")
    lists = {single: record[plural] for plural, single in _PLURALS.items() if plural in record}
    singles = {key: value for key, value in record.items() if key not in _PLURALS}
    for values in product(*lists.values()):
        filled = {**singles, **dict(zip(lists, values, strict=True))}
        filled["name"] = _filled_name(filled, where)
        yield filled, where


def _filled_name(record: Mapping[str, Any], where: str) -> str:
    try:
        return str(record["name"]).format(**record)
    except KeyError as error:
        raise UserError("the name asks for a key that the record lacks", where=where, found=error.args[0]) from None
    except (ValueError, IndexError, AttributeError):
        wanted = "keys of the record in braces, such as b-s{seed}"
        raise UserError("wrong value for name", where=where, found=record["name"], wanted=wanted) from None


def _entry(record: dict[str, Any], where: str) -> RunEntry:
    refuse_unknown_keys(record, RUN_FIELDS, where)
    if isinstance(record.get("original_share"), int):
        record["original_share"] = float(record["original_share"])
    for name, kind in get_type_hints(RunEntry).items():
        if name in record and not isinstance(record[name], kind):
            wanted = getattr(kind, "__name__", str(kind))
            raise UserError(f"wrong value for {name}", where=where, found=record[name], wanted=wanted)
    return RunEntry(**record)


def refuse_unknown_keys(record: Mapping[str, object], known: Collection[str], where: str) -> None:
    """Raise UserError for the first key that nobody would read."""
    unknown = sorted(str(key) for key in record if key not in known)
    if unknown:
        raise UserError("unknown key", where=where, found=unknown[0], wanted="one of " + ", ".join(sorted(known)))


def _refuse_duplicates(runs: tuple[RunEntry, ...], path: Path) -> None:
    seen: set[str] = set()
    for run in runs:
        if run.qualified_name in seen:
            raise UserError("the same run twice", where=str(path), found=run.qualified_name, wanted="one entry a run")
        seen.add(run.qualified_name)
