"""Very small data sets in the formats that their publishers use on disk."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 36)) -> Image.Image:
    """Return noise; the same seed gives the same pixels."""
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(path: Path, seed: int, size: tuple[int, int] = (40, 36)) -> None:
    """Write noise without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A .jpg's name does not bind Pillow, which reads what is in it.
    picture(seed, size).save(path, format="PNG")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_lines(path: Path, records: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def webdataset(folder: Path, annotations: Sequence[str], extension: str, num_shards: int = 2) -> Path:
    """Write `test/` with one picture for each annotation, dealt out to shards."""
    split = folder / "test"
    split.mkdir(parents=True)
    (split / "nshards.txt").write_text(f"{num_shards}\n")
    for shard in range(num_shards):
        with tarfile.open(split / f"{shard}.tar", "w") as tar:
            for index in range(shard, len(annotations), num_shards):
                encoded = io.BytesIO()
                picture(index).save(encoded, format="PNG")
                for name, data in (("png", encoded.getvalue()), (extension, annotations[index].encode())):
                    member = tarfile.TarInfo(f"s{index:07}.{name}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def retrieval_webdataset(folder: Path, num_images: int = 9) -> Path:
    """Write a retrieval set of one to three captions an image, some of them twice."""
    captions = [
        [f"a thing number {index % 7}, seen {turn}" for turn in range(1 + index % 3)] for index in range(num_images)
    ]
    webdataset(folder, ["\n".join(each) for each in captions], "txt")
    (folder / "dataset_type.txt").write_text("retrieval\n")
    return folder


def classification_webdataset(folder: Path, num_images: int = 14, num_classes: int = 6) -> Path:
    """Write a classification set with templates."""
    webdataset(folder, [str(index % num_classes) for index in range(num_images)], "cls")
    (folder / "classnames.txt").write_text("".join(f"kind {index}\n" for index in range(num_classes)))
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of {c}\n{c}, drawn\n")
    return folder


def karpathy(folder: Path, annotations: str = "dataset_coco.json", images: str = ".") -> Path:
    """Write three test images and one of the training split."""
    records = [
        {
            "filepath": "val2014",
            "filename": f"COCO_val2014_{index:012}.jpg",
            "split": "train" if index == 3 else "test",
            "sentences": [{"raw": f"caption {turn} of {index}"} for turn in range(5 + index % 2)],
        }
        for index in range(4)
    ]
    if "flickr" in annotations:
        for record in records:
            del record["filepath"]
    write_json(folder / annotations, {"images": records, "dataset": "coco"})
    for index, record in enumerate(records):
        save(folder / images / str(record.get("filepath", "")) / str(record["filename"]), index)
    return folder


def urban1k(folder: Path) -> Path:
    for index in (1, 2):
        save(folder / "image" / f"{index:03}.jpg", index)
        (folder / "caption").mkdir(exist_ok=True)
        (folder / "caption" / f"{index:03}.txt").write_text(f"A street. It is number {index}.\nNot read.\n")
    return folder


def dci(folder: Path) -> Path:
    root = folder / "densely_captioned_images"
    names = [f"sa_{index}.json" for index in range(3)]
    write_json(root / "splits.json", {"train": names[:1], "valid": names[1:2], "test": names[2:]})
    for index, name in enumerate(names):
        record = {"image": f"sa_{index}.jpg", "short_caption": f"Short {index}.", "extra_caption": "One. Two, three.\n"}
        write_json(root / "annotations" / name, {**record, "mask_data": {}})
        save(root / "photos" / f"sa_{index}.jpg", index)
    return folder


def iiw(folder: Path) -> Path:
    write_lines(folder / "DOCCI_Test" / "data.jsonl", [{"image": "test_00001", "IIW": "A dog. It sits."}])
    write_lines(folder / "IIW-400" / "data.jsonl", [{"image/key": "aar_test_00002", "IIW": "A cat."}])
    write_lines(folder / "DCI_Test" / "data.jsonl", [{"image": "sa_3.jpg", "IIW": "A bird."}])
    for seed, name in enumerate(("docci/test_00001.jpg", "docci_aar/aar_test_00002.jpg", "dci/sa_3.jpg")):
        save(folder / name, seed)
    return folder


def docci(folder: Path) -> Path:
    records = [
        {"example_id": f"{split}_{index}", "split": split, "image_file": f"{split}_{index}.jpg", "description": "Long."}
        for split in ("train", "test")
        for index in range(2)
    ]
    write_lines(folder / "docci_descriptions.jsonlines", records)
    for seed, record in enumerate(records):
        save(folder / "images" / record["image_file"], seed)
    return folder


def aro(folder: Path) -> Path:
    """Write both parts; attribute pairs of 26 and of 2 cases, and two relations."""
    box = {"bbox_x": 4, "bbox_y": 6, "bbox_w": 20, "bbox_h": 16}
    shared = {"image_path": "7.jpg", "true_caption": "the red cup", "false_caption": "the blue cup", **box}
    attribution = [{**shared, "attributes": ["red", "blue"] if index < 26 else ["old", "new"]} for index in range(28)]
    relation = [{**shared, "relation_name": name} for name in ("on", "under", "under")]
    write_json(folder / "visual_genome_attribution.json", attribution)
    write_json(folder / "visual_genome_relation.json", relation)
    save(folder / "images" / "7.jpg", 7)
    return folder


SUGAR_CREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")


def sugar_crepe(folder: Path) -> Path:
    for subset in SUGAR_CREPE:
        cases = {
            str(key): {"filename": f"{key:012}.jpg", "caption": f"true {key}", "negative_caption": f"false {key}"}
            for key in (0, 2)
        }
        write_json(folder / f"{subset}.json", cases)
    for key in (0, 2):
        save(folder / "val2017" / f"{key:012}.jpg", key)
    return folder


def winoground(folder: Path) -> Path:
    records = [
        {"id": index, "image_0": f"ex_{index}_img_0", "image_1": f"ex_{index}_img_1",
         "caption_0": "some plants around a bulb", "caption_1": f"a bulb around some plants {index}"}
        for index in range(2)
    ]  # fmt: skip
    write_lines(folder / "examples.jsonl", records)
    for index in range(2):
        for side in (0, 1):
            save(folder / "images" / f"ex_{index}_img_{side}.png", 10 * index + side)
    return folder
