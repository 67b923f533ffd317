"""What a test set is once it is read: samples of pictures and texts, and the facts by which others can check it."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from eval.datasets.entries import Entry, Task
from eval.datasets.texts import TEXT_RULES
from eval.rows import Manifest
from runtime.errors import UserError

CropBox = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""


@dataclass(frozen=True)
class Picture:
    """Where an image's bytes are: a file, or a span of one; with the part of it that is shown."""

    path: Path
    span: tuple[int, int] | None = None
    """Offset and size in bytes inside `path`; None for the whole file."""
    crop: CropBox | None = None

    def read(self) -> bytes:
        """Return the encoded bytes; raises UserError where they are not there."""
        try:
            with self.path.open("rb") as file:
                if self.span is None:
                    return file.read()
                file.seek(self.span[0])
                return file.read(self.span[1])
        except OSError as error:
            raise UserError("missing image", where=self.path, found=str(error.strerror)) from None

    def open(self, data: bytes) -> Image.Image:
        """Decode as every published harness does (Pillow's RGB; EXIF and transparency are ignored), and crop."""
        try:
            with Image.open(io.BytesIO(data)) as image:
                rgb = image.convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise UserError("damaged image", where=self.path, found=str(error)) from None
        return rgb if self.crop is None else rgb.crop(self.crop)


@dataclass(frozen=True)
class Sample:
    """One test item: pictures with texts or a label. In a choice the true text comes first."""

    key: str
    pictures: tuple[Picture, ...]
    texts: tuple[str, ...] = ()
    label: int | None = None
    group: str | None = None
    """Attribute pair or relation that a macro average counts by."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a reader finds in a folder."""

    samples: Sequence[Sample]
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    """Class prompts with `{c}` in the class name's place."""
    task: Task | None = None
    """The task, where the folder itself says it."""


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """A registered test set with what was found of it."""

    entry: Entry
    contents: Contents

    __test__ = False
    """Its name is no test's."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The test items, in the order of the annotations."""
        return self.contents.samples

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture, item by item."""
        for sample in self.samples:
            yield from sample.pictures

    def texts(self) -> list[str]:
        """Return every text that is encoded: captions, or class prompts."""
        if self.entry.task == "classification":
            return [prompt for name in self.contents.classes for prompt in self.prompts(name)]
        return [text for sample in self.samples for text in sample.texts]

    def prompts(self, class_name: str) -> list[str]:
        """Return the prompts of a class, prepared as the entry says."""
        rule = TEXT_RULES[self.entry.text]
        return [rule(template.replace("{c}", class_name)) for template in self.contents.templates]

    def annotation_sha256(self) -> str:
        """Hash everything that was annotated: keys, crops, texts, labels and groups in order, classes and prompts."""
        lines: list[object] = [[*self.contents.classes], [*self.contents.templates]]
        lines += [
            [each.key, [picture.crop for picture in each.pictures], list(each.texts), each.label, each.group]
            for each in self.samples
        ]
        return hashlib.sha256("\n".join(map(json.dumps, lines)).encode()).hexdigest()

    def manifest(self) -> Manifest:
        """Return the facts of the data's part of the protocol."""
        return {
            "dataset": self.entry.name,
            "split": self.entry.split,
            "task": self.entry.task,
            "num_images": sum(1 for _ in self.pictures()),
            "num_texts": len(self.texts()),
            "annotation_sha256": self.annotation_sha256(),
            "text_preprocessing": self.entry.text,
        }
