"""Data sets of an annotation file beside folders of images, as their publishers hand them out."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.datasets.entries import Entry
from eval.datasets.samples import Contents, Picture, Sample
from runtime.errors import UserError
from runtime.json_files import parse_object, read_object


def read_karpathy(folder: Path, entry: Entry) -> Contents:
    """Read COCO or Flickr30K in Karpathy's splits: `dataset_*.json`, all captions of each image."""
    document = read_object(folder / entry.annotations, "images")
    images = folder / entry.images
    samples = [
        Sample(
            key=str(record["filename"]),
            pictures=(Picture(images / record.get("filepath", "") / record["filename"]),),
            texts=tuple(sentence["raw"] for sentence in record["sentences"]),
        )
        for record in document["images"]
        if record.get("split") == entry.split
    ]
    return Contents(samples=samples)


def read_docci(folder: Path, entry: Entry) -> Contents:
    """Read DOCCI: `docci_descriptions.jsonlines` and `images/`, one description an image."""
    samples = [
        Sample(record["example_id"], (Picture(folder / "images" / record["image_file"]),), (record["description"],))
        for record in _json_lines(folder / "docci_descriptions.jsonlines", "example_id", "image_file", "description")
        if record.get("split") == entry.split
    ]
    return Contents(samples=samples)


def read_dci(folder: Path, entry: Entry) -> Contents:
    """Read Densely Captioned Images: all splits, the short and the extra caption as one text, as LoTLIP does."""
    root = folder / "densely_captioned_images"
    samples = []
    for names in read_object(root / "splits.json").values():
        for name in names:
            record = read_object(root / "annotations" / name, "image", "short_caption", "extra_caption")
            text = f"{record['short_caption']}\n{record['extra_caption']}"
            samples.append(Sample(name, (Picture(root / "photos" / record["image"]),), (text,)))
    return Contents(samples=samples)


IIW_PARTS = {"DOCCI_Test": "docci", "IIW-400": "docci_aar", "DCI_Test": "dci"}
"""ImageInWords' human-annotated parts -> LoTLIP's image folder of each."""


def read_iiw(folder: Path, entry: Entry) -> Contents:
    """Read ImageInWords' three human-annotated parts, `<part>/data.jsonl`, images in LoTLIP's folders."""
    samples = []
    for part, images in IIW_PARTS.items():
        for record in _json_lines(folder / part / "data.jsonl", "IIW"):
            name = str(record.get("image") or record["image/key"])
            file = name if name.endswith(".jpg") else f"{name}.jpg"
            samples.append(Sample(f"{part}/{name}", (Picture(folder / images / file),), (record["IIW"],)))
    return Contents(samples=samples)


def read_urban1k(folder: Path, entry: Entry) -> Contents:
    """Read Urban1K: `caption/NNN.txt` beside `image/NNN.jpg`."""
    captions = sorted((folder / "caption").glob("*.txt"))
    if not captions:
        raise UserError("no such data set", where=folder / "caption", found="no *.txt", wanted="Urban1K's captions")
    samples = [
        Sample(path.stem, (Picture(folder / "image" / f"{path.stem}.jpg"),), (path.read_text(encoding="utf-8"),))
        for path in captions
    ]
    return Contents(samples=samples)


def read_sugar_crepe(folder: Path, entry: Entry) -> Contents:
    """Read one subset of SugarCrepe: its JSON file and COCO's `val2017/`."""
    samples = [
        Sample(
            key,
            (Picture(folder / entry.images / record["filename"]),),
            (record["caption"], record["negative_caption"]),
        )
        for key, record in read_object(folder / entry.annotations).items()
    ]
    return Contents(samples=samples)


def read_aro(folder: Path, entry: Entry) -> Contents:
    """Read VG-Attribution or VG-Relation: images are cropped to the box of what the captions speak of."""
    path = folder / entry.annotations
    return Contents(samples=[_aro_sample(folder, index, record) for index, record in enumerate(_json_list(path))])


def read_winoground(folder: Path, entry: Entry) -> Contents:
    """Read Winoground: `examples.jsonl` and `images/`, two images and two captions an example."""
    samples = []
    for record in _json_lines(folder / "examples.jsonl", "id", "image_0", "image_1", "caption_0", "caption_1"):
        files = (str(record[f"image_{side}"]) for side in (0, 1))
        pictures = tuple(Picture(folder / "images" / (f"{file}.png" if "." not in file else file)) for file in files)
        samples.append(Sample(str(record["id"]), pictures, (record["caption_0"], record["caption_1"])))
    return Contents(samples=samples)


def read_imagenet(folder: Path, entry: Entry) -> Contents:
    """Read ImageNet's validation images in folders by WordNet id, with OpenAI's class names and 80 prompts."""
    from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    root = folder / entry.images
    synsets = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if len(synsets) != len(IMAGENET_CLASSNAMES):
        wanted = f"{len(IMAGENET_CLASSNAMES)} folders, one a class"
        raise UserError("not ImageNet's validation set", where=root, found=f"{len(synsets)} folders", wanted=wanted)
    samples = [
        Sample(f"{synset.name}/{file.name}", (Picture(file),), label=label)
        for label, synset in enumerate(synsets)
        for file in sorted(synset.iterdir())
    ]
    templates = tuple(template("{c}") for template in OPENAI_IMAGENET_TEMPLATES)
    return Contents(samples=samples, classes=tuple(IMAGENET_CLASSNAMES), templates=templates)


Reader = Callable[[Path, Entry], Contents]


def _aro_sample(folder: Path, index: int, record: Mapping[str, Any]) -> Sample:
    left, top = record["bbox_x"], record["bbox_y"]
    crop = (left, top, left + record["bbox_w"], top + record["bbox_h"])
    group = "_".join(record["attributes"]) if "attributes" in record else record["relation_name"]
    picture = Picture(folder / "images" / record["image_path"], crop=crop)
    return Sample(str(index), (picture,), (record["true_caption"], record["false_caption"]), group=group)


def _json_lines(path: Path, *keys: str) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise UserError("missing annotations", where=path, found="no file")
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            yield parse_object(line, f"{path}:{number}", *keys)


def _json_list(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise UserError("missing annotations", where=path, found="no file")
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError("file is not JSON", where=path, found=str(error)) from None
    if not isinstance(found, list):
        raise UserError("not a list of test cases", where=path, found=type(found).__name__)
    return found
