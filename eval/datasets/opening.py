"""From a name and a folder to test sets that are whole: every image there, every count as published."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from eval.datasets import annotations, webdataset
from eval.datasets.annotations import Reader
from eval.datasets.entries import Entry, Format, Registry
from eval.datasets.samples import Contents, TestSet
from eval.datasets.texts import TEXT_RULES
from runtime.errors import UserError

READERS: Mapping[Format, Reader] = {
    "webdataset": webdataset.read_webdataset,
    "karpathy": annotations.read_karpathy,
    "imagenet": annotations.read_imagenet,
    "urban1k": annotations.read_urban1k,
    "dci": annotations.read_dci,
    "iiw": annotations.read_iiw,
    "docci": annotations.read_docci,
    "aro": annotations.read_aro,
    "sugar_crepe": annotations.read_sugar_crepe,
    "winoground": annotations.read_winoground,
}
_SHAPES = {"retrieval": (1, None), "classification": (1, 0), "choice": (1, 2), "matching": (2, 2)}
"""Pictures and texts of one item, by task; None for any number from one."""


def open_test_sets(registry: Registry, folders: Mapping[str, Path], *, partial: bool = False) -> list[TestSet]:
    """Open every data set named, a family in one folder; each is checked before any model is loaded."""
    return [
        open_test_set(entry, folder, partial=partial)
        for name, folder in folders.items()
        for entry in registry.named(name)
    ]


def open_test_set(entry: Entry, folder: Path, *, partial: bool = False) -> TestSet:
    """Read one test set and check it.

    Raises UserError for a missing folder, file or image, for counts other than the published ones (unless `partial`),
    for labels that no class has, for items of another shape than the task's, and for keys that come twice.
    """
    if not folder.is_dir():
        raise UserError("no folder of this data set", where=f"datasets.{entry.name}", found=str(folder))
    try:
        contents = READERS[entry.format](folder, entry)
    except (KeyError, TypeError, IndexError) as error:
        found = f"{type(error).__name__} {error}"
        raise UserError(f"annotations of another format than {entry.format}", where=folder, found=found) from None
    test_set = TestSet(entry=_with_task(entry, contents), contents=_prepared(entry, contents))
    _check_items(test_set, folder)
    _check_pictures(test_set)
    if not partial:
        _check_counts(test_set, folder)
    return test_set


def _with_task(entry: Entry, contents: Contents) -> Entry:
    return entry if contents.task is None else replace(entry, task=contents.task)


def _prepared(entry: Entry, contents: Contents) -> Contents:
    rule = TEXT_RULES[entry.text]
    return replace(contents, samples=[replace(each, texts=tuple(map(rule, each.texts))) for each in contents.samples])


def _check_items(test_set: TestSet, folder: Path) -> None:
    num_pictures, num_texts = _SHAPES[test_set.entry.task]
    seen: set[str] = set()
    for sample in test_set.samples:
        if sample.key in seen:
            raise UserError("one key twice", where=folder, found=sample.key, wanted="each item once")
        seen.add(sample.key)
        enough_texts = len(sample.texts) == num_texts if num_texts is not None else bool(sample.texts)
        if len(sample.pictures) != num_pictures or not enough_texts:
            found = f"{len(sample.pictures)} images and {len(sample.texts)} texts"
            wanted = f"{num_pictures} and {num_texts if num_texts is not None else 'one or more'}"
            raise UserError("mismatched counts", where=f"{folder}: {sample.key}", found=found, wanted=wanted)
        if sample.label is not None and sample.label >= len(test_set.contents.classes):
            wanted = f"below {len(test_set.contents.classes)}, the number of class names"
            raise UserError("mismatched counts: no such class", where=folder, found=sample.label, wanted=wanted)
    if not seen:
        raise UserError("an empty data set", where=folder, found=f"nothing of split {test_set.entry.split}")


def _check_pictures(test_set: TestSet) -> None:
    paths = dict.fromkeys(picture.path for picture in test_set.pictures())
    missing = [path for path in paths if not path.is_file()]
    if missing:
        found = f"{len(missing)} of {len(paths)} files are not there"
        raise UserError("missing image", where=missing[0], found=found, wanted=f"all images of {test_set.entry.name}")


def _check_counts(test_set: TestSet, folder: Path) -> None:
    entry = test_set.entry
    texts = test_set.contents.classes if entry.task == "classification" else test_set.texts()
    found = {"images": sum(1 for _ in test_set.pictures()), "texts": len(texts)}
    for name, wanted in (("images", entry.num_images), ("texts", entry.num_texts)):
        if wanted is not None and found[name] != wanted:
            raise UserError(
                f"mismatched counts: {name} of {entry.name}",
                where=folder,
                found=found[name],
                wanted=f"{wanted}, as published",
                fix="Complete it, or pass --partial true and publish it under another name",
            )
