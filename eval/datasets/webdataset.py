"""CLIP_benchmark's webdataset layout: `<folder>/test/{nshards.txt,0.tar,...}` and files of classes beside."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from eval.datasets.entries import Entry, Task
from eval.datasets.samples import Contents, Picture, Sample
from imagetext.tar_index import index_tar, read_part
from runtime.errors import UserError

_IMAGES = ("webp", "png", "jpg", "jpeg")
"""In the order in which CLIP_benchmark looks for them."""
_TASKS: Mapping[str, Task] = {"retrieval": "retrieval", "classification": "classification"}


def read_webdataset(folder: Path, entry: Entry) -> Contents:
    """Read a split of `folder`, or of the part of it that `annotations` names; `dataset_type.txt` says what it is.

    Without that file it is a classification. Pairs of a true and a false caption (the entry's task `choice`) lie on
    disk as a retrieval set.
    """
    folder = folder / entry.annotations
    split = folder / entry.split
    found = _optional_line(folder / "dataset_type.txt") or "classification"
    if found not in _TASKS:
        raise UserError("this kind is not measured", where=folder, found=found, wanted=" or ".join(_TASKS))
    task: Task = "choice" if entry.task == "choice" and found == "retrieval" else _TASKS[found]
    samples = [
        sample
        for index in range(_num_shards(split / "nshards.txt"))
        for sample in _read_tar(split / f"{index}.tar", index, task)
    ]
    if task != "classification":
        return Contents(samples=samples, task=task)
    classes = _lines(folder / "classnames.txt")
    templates = _lines(folder / "zeroshot_classification_templates.txt")
    return Contents(samples=samples, classes=classes, templates=templates, task=task)


def _num_shards(path: Path) -> int:
    text = _optional_line(path)
    if text is None:
        raise UserError("no such data set", where=path, found="no file", wanted="a CLIP_benchmark webdataset")
    if not text.isdecimal():
        raise UserError("no number of shards", where=path, found=text[:20], wanted="digits")
    return int(text)


def _read_tar(path: Path, index: int, task: Task) -> Iterator[Sample]:
    if not path.is_file():
        raise UserError("missing shard", where=path, found="no file", fix="Fetch it, or correct nshards.txt")
    with path.open("rb") as file:
        for member in index_tar(file, str(path)):
            where = f"{path}: {member.key}"
            image = next((member.parts[name] for name in _IMAGES if name in member.parts), None)
            if image is None:
                raise UserError("missing image", where=where, found=sorted(member.parts), wanted=" or ".join(_IMAGES))
            wanted = "cls" if task == "classification" else "txt"
            data = read_part(file, _part(member.parts, wanted, where), str(path))
            pictures, key = (Picture(path, image),), f"{index}/{member.key}"
            if wanted == "cls":
                yield Sample(key, pictures, label=_label(data, where))
            else:
                yield Sample(key, pictures, tuple(data.decode("utf-8").splitlines()))


def _part(parts: Mapping[str, tuple[int, int]], wanted: str, where: str) -> tuple[int, int]:
    if wanted not in parts:
        raise UserError("a sample without its annotation", where=where, found=sorted(parts), wanted=f".{wanted}")
    return parts[wanted]


def _label(data: bytes, where: str) -> int:
    text = data.decode("utf-8", "replace").strip()
    if not text.isdecimal():
        raise UserError("no number of a class", where=where, found=text[:20], wanted="digits in .cls")
    return int(text)


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise UserError("missing file of classes", where=path, found="no file", wanted="one entry a line")
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())


def _optional_line(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip().lower() if path.is_file() else None
