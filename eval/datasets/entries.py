"""The registry of test sets: what each is, how it lies on disk and how it is scored, read from a YAML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from runtime.errors import UserError
from runtime.yaml_files import read_mapping

REGISTRY = Path(__file__).parents[2] / "configs" / "eval" / "datasets.yaml"
WEBDATASET = "wds/"
"""Prefix of names that stand for any data set in CLIP_benchmark's webdataset layout: `wds/cars`."""

Task = Literal["retrieval", "classification", "choice", "matching"]
"""retrieval: images and their captions. classification: images and classes. choice: an image, a true and a false text.
matching: two images and their two texts."""
Format = Literal[
    "webdataset", "karpathy", "imagenet", "urban1k", "dci", "iiw", "docci", "aro", "sugar_crepe", "winoground"
]
TextRule = Literal["as_is", "first_line", "sentences", "canonical"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One test set."""

    name: str
    """Name in rows and on the command line."""
    title: str
    """What it is, for people."""
    format: Format
    """How it lies on disk; `eval.datasets.opening` has a reader for each."""
    task: Task
    """What is asked of a model."""
    source: str
    """Where it comes from."""
    split: str = "test"
    """Part of the data that is measured, as its publishers call it."""
    annotations: str = ""
    """Annotation file or folder below the data set's folder, for formats that leave its name open."""
    images: str = "."
    """Image folder below the data set's folder, for formats that leave its name open."""
    num_images: int | None = None
    """Published number of images; null where none is published."""
    num_texts: int | None = None
    """Published number of texts, of classes for a classification."""
    text: TextRule = "as_is"
    """What is done to texts before the tokenizer: nothing, the first line alone, sentences joined anew as LoTLIP does,
    or lower case without punctuation as CLIPA does to class prompts."""
    ties: Literal["wrong", "half"] = "wrong"
    """What a choice is worth where the model can't tell: nothing, as ARO and SugarCrepe count, or half a point."""
    average: Literal["micro", "macro"] = "micro"
    """Whether the choice's accuracy is the mean over items, or over groups of items."""
    min_cases: int = 1
    """Groups of fewer items than this are left out of a macro average."""
    clip_benchmark: str | None = None
    """CLIP_benchmark's name of the same data; null where it has none, and then no mode `clip_benchmark` either."""
    datacomp_key: str | None = None
    """DataComp's key of the same task; null where it has none."""
    datacomp_name: str | None = None
    """DataComp's name of it."""
    main_metric: str = "acc1"
    """The metric that DataComp's average takes."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All known test sets, and names that stand for several of them in one folder."""

    entries: Mapping[str, Entry]
    families: Mapping[str, tuple[str, ...]]

    def named(self, name: str) -> list[Entry]:
        """Return the test sets of a name: one, a family's, or any webdataset by `wds/NAME`; UserError for no such."""
        if name in self.families:
            return [self.entries[member] for member in self.families[name]]
        if name in self.entries:
            return [self.entries[name]]
        if name.startswith(WEBDATASET) and name != WEBDATASET:
            return [_any_webdataset(name)]
        known = ", ".join([*self.families, *self.entries])
        raise UserError("unknown data set", where="datasets", found=name, wanted=f"{WEBDATASET}NAME or one of {known}")


def load_registry(path: Path = REGISTRY) -> Registry:
    """Read a registry; raises UserError for an unknown field, a missing or wrong value, a family without members."""
    document = read_mapping(path, "registry of data sets")
    entries = {name: _entry(name, record, f"{path}: {name}") for name, record in document.get("datasets", {}).items()}
    families = {name: tuple(members) for name, members in document.get("families", {}).items()}
    for name, members in families.items():
        unknown = [member for member in members if member not in entries]
        if unknown or not members:
            raise UserError("a family of unknown data sets", where=f"{path}: {name}", found=unknown, wanted="entries")
    return Registry(entries=entries, families=families)


def _any_webdataset(name: str) -> Entry:
    return Entry(
        name=name,
        title=f"{name}, in CLIP_benchmark's webdataset layout",
        format="webdataset",
        task="classification",
        source="the folder given",
        clip_benchmark=name,
    )


def _entry(name: str, record: object, where: str) -> Entry:
    if not isinstance(record, dict):
        raise UserError("not an entry", where=where, found=record, wanted="a mapping of fields")
    known = {field.name for field in fields(Entry)} - {"name"}
    odd = sorted(set(record) - known)
    if odd:
        raise UserError("unknown field", where=where, found=odd[0], wanted="one of " + ", ".join(sorted(known)))
    for field, kind in get_type_hints(Entry).items():
        if field in record and not _is_a(record[field], kind):
            wanted = " | ".join(map(str, get_args(kind))) or kind.__name__
            raise UserError(f"wrong value for {field}", where=where, found=record[field], wanted=wanted)
    missing = sorted({"title", "format", "task", "source"} - set(record))
    if missing:
        raise UserError("missing field", where=where, wanted=missing[0])
    return Entry(name=name, **record)


def _is_a(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    options: Sequence[Any] = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return isinstance(value, tuple(options)) and not isinstance(value, bool)
