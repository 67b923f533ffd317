"""Published test sets: read from the formats they come in, refused by name where they are not whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eval.datasets.entries import Registry, load_registry
from eval.datasets.opening import READERS, open_test_set, open_test_sets
from eval.datasets.samples import TestSet
from eval.datasets.texts import canonical, first_line, sentences
from runtime.errors import UserError
from tests.eval import data_sets


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def opened(registry: Registry, name: str, folder: Path) -> TestSet:
    (test_set,) = open_test_sets(registry, {name: folder}, partial=True)
    return test_set


def test_the_registry_reads_every_format_and_names_where_each_set_comes_from(registry: Registry) -> None:
    assert {entry.format for entry in registry.entries.values()} == set(READERS)
    assert all(entry.source and entry.title for entry in registry.entries.values())
    counts = {name: (entry.num_images, entry.num_texts) for name, entry in registry.entries.items()}
    assert counts["coco"] == (5000, 25010) and counts["flickr30k"] == (1000, 5000) and counts["iiw"] == (612, 612)
    sugar_crepe = [registry.entries[name] for name in registry.families["sugar_crepe"]]
    assert sum(entry.num_images or 0 for entry in sugar_crepe) == 7511


def test_karpathys_splits_keep_all_captions_of_their_split(registry: Registry, tmp_path: Path) -> None:
    coco = opened(registry, "coco", data_sets.karpathy(tmp_path / "coco"))
    assert [len(sample.texts) for sample in coco.samples] == [5, 6, 5]
    assert coco.samples[0].pictures[0].path.name == "COCO_val2014_000000000000.jpg"
    folder = data_sets.karpathy(tmp_path / "flickr", "dataset_flickr30k.json", "flickr30k-images")
    assert len(opened(registry, "flickr30k", folder).samples) == 3


def test_long_captions_are_read_as_their_protocols_say(registry: Registry, tmp_path: Path) -> None:
    assert opened(registry, "urban1k", data_sets.urban1k(tmp_path / "u")).texts() == [
        "A street. It is number 1.",
        "A street. It is number 2.",
    ]
    dci = opened(registry, "dci", data_sets.dci(tmp_path / "d"))
    assert dci.texts()[2] == "Short 2. One. Two, three" and len(dci.samples) == 3
    iiw = opened(registry, "iiw", data_sets.iiw(tmp_path / "i"))
    assert [sample.key for sample in iiw.samples] == [
        "DOCCI_Test/test_00001",
        "IIW-400/aar_test_00002",
        "DCI_Test/sa_3.jpg",
    ]
    assert iiw.texts()[0] == "A dog. It sits"
    assert [s.key for s in opened(registry, "docci", data_sets.docci(tmp_path / "o")).samples] == ["test_0", "test_1"]


def test_aros_pictures_are_cropped_and_grouped(registry: Registry, tmp_path: Path) -> None:
    folder = data_sets.aro(tmp_path)
    attribution, relation = open_test_sets(registry, {"aro": folder}, partial=True)
    sample = attribution.samples[0]
    assert sample.texts == ("the red cup", "the blue cup") and sample.group == "red_blue"
    (shown,) = sample.pictures
    assert shown.crop == (4, 6, 24, 22)
    assert shown.open(shown.read()).tobytes() == data_sets.picture(7).crop((4, 6, 24, 22)).tobytes()
    assert [each.group for each in relation.samples] == ["on", "under", "under"]


def test_sugar_crepe_is_seven_sets_in_one_folder_and_winoground_two_pictures_an_item(
    registry: Registry, tmp_path: Path
) -> None:
    sets = open_test_sets(registry, {"sugar_crepe": data_sets.sugar_crepe(tmp_path / "s")}, partial=True)
    assert [each.entry.name.split("/")[1] for each in sets] == list(data_sets.SUGAR_CREPE)
    assert sets[0].samples[1].texts == ("true 2", "false 2")
    winoground = opened(registry, "winoground", data_sets.winoground(tmp_path / "w"))
    assert [picture.path.name for picture in winoground.samples[1].pictures] == ["ex_1_img_0.png", "ex_1_img_1.png"]


def test_any_clip_benchmark_webdataset_says_itself_what_it_is(registry: Registry, tmp_path: Path) -> None:
    retrieval = opened(registry, "wds/mine", data_sets.retrieval_webdataset(tmp_path / "r"))
    assert retrieval.entry.task == "retrieval" and len(retrieval.samples) == 9
    assert len({sample.key for sample in retrieval.samples}) == 9
    classes = opened(registry, "wds/vtab/cars", data_sets.classification_webdataset(tmp_path / "c"))
    assert classes.entry.task == "classification" and classes.samples[0].label == 0
    assert classes.texts()[:3] == ["a photo of kind 0", "kind 0, drawn", "a photo of kind 1"]


def test_imagenet_is_read_from_folders_by_wordnet_id(registry: Registry, tmp_path: Path) -> None:
    for index in range(1000):
        (tmp_path / "val" / f"n{index:08}").mkdir(parents=True)
    for index in (0, 999):
        data_sets.save(tmp_path / "val" / f"n{index:08}" / "a.JPEG", index)
    imagenet = opened(registry, "imagenet", tmp_path)
    assert [sample.label for sample in imagenet.samples] == [0, 999]
    assert imagenet.contents.classes[0] == "tench" and len(imagenet.contents.templates) == 80
    assert imagenet.prompts("tench")[0] == "a bad photo of a tench."
    plain = opened(registry, "imagenet_canonical", tmp_path)
    assert plain.prompts(plain.contents.classes[2])[0] == "a bad photo of a great white shark"


def test_text_rules() -> None:
    assert first_line("a. b\nc") == "a. b"
    assert sentences(" One. Two</s>three\n\nfour..") == "One. Two. three. four"
    assert canonical("A Photo of_the {c}!") == "a photo of the c"


def test_a_set_that_is_not_whole_is_refused_by_count(registry: Registry, tmp_path: Path) -> None:
    folder = data_sets.karpathy(tmp_path)
    with pytest.raises(UserError, match="mismatched counts: images of coco: found 3, wanted 5000, as published"):
        open_test_set(registry.entries["coco"], folder)
    entry = replace(registry.entries["coco"], num_images=3, num_texts=15)
    with pytest.raises(UserError, match="mismatched counts: texts of coco: found 16, wanted 15"):
        open_test_set(entry, folder)
    assert len(open_test_set(replace(entry, num_texts=16), folder).samples) == 3


def break_image(folder: Path) -> None:
    (folder / "val2014" / "COCO_val2014_000000000001.jpg").unlink()


def break_format(folder: Path) -> None:
    data_sets.write_json(folder / "dataset_coco.json", {"images": [{"split": "test"}]})


def break_caption(folder: Path) -> None:
    record = {"filepath": "val2014", "filename": "COCO_val2014_000000000001.jpg", "split": "test", "sentences": []}
    data_sets.write_json(folder / "dataset_coco.json", {"images": [record]})


def break_twice(folder: Path) -> None:
    record = {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "x"}]}
    data_sets.write_json(folder / "dataset_coco.json", {"images": [record, record]})


def break_split(folder: Path) -> None:
    data_sets.write_json(folder / "dataset_coco.json", {"images": []})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_image, r"COCO_val2014_000000000001\.jpg: missing image: found 1 of 3 files are not there"),
        (break_format, "annotations of another format than karpathy"),
        (break_caption, "mismatched counts: found 1 images and 0 texts, wanted 1 and one or more"),
        (break_twice, "one key twice: found a.jpg"),
        (break_split, "an empty data set: found nothing of split test"),
    ],
)
def test_damaged_sets_are_refused_by_name(
    registry: Registry, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(data_sets.karpathy(tmp_path))
    with pytest.raises(UserError, match=message):
        opened(registry, "coco", tmp_path)


def test_webdatasets_are_refused_by_name(registry: Registry, tmp_path: Path) -> None:
    folder = data_sets.classification_webdataset(tmp_path / "c")
    with pytest.raises(UserError, match="unknown data set: found nonsense, wanted wds/NAME or one of sugar_crepe"):
        opened(registry, "nonsense", folder)
    with pytest.raises(UserError, match=r"datasets\.wds/c: no folder of this data set"):
        opened(registry, "wds/c", tmp_path / "nowhere")
    (folder / "classnames.txt").write_text("kind 0\nkind 1\n")
    with pytest.raises(UserError, match="mismatched counts: no such class: found 2, wanted below 2"):
        opened(registry, "wds/c", folder)
    (folder / "dataset_type.txt").write_text("multilabel")
    with pytest.raises(UserError, match="this kind is not measured: found multilabel"):
        opened(registry, "wds/c", folder)
    (folder / "dataset_type.txt").write_text("retrieval")
    with pytest.raises(UserError, match=r"0\.tar: s0000000: a sample without its annotation: .*wanted \.txt"):
        opened(registry, "wds/c", folder)
    (folder / "test" / "1.tar").unlink()
    (folder / "dataset_type.txt").unlink()
    with pytest.raises(UserError, match=r"1\.tar: missing shard"):
        opened(registry, "wds/c", folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{title: a, format: karpathy, task: retrieval}", "x: missing field: wanted source"),
        ("{title: a, format: tar, task: retrieval, source: b}", "x: wrong value for format: found tar"),
        ("{title: a, format: iiw, task: retrieval, source: b, splt: c}", "x: unknown field: found splt"),
        ("{title: a, format: iiw, task: retrieval, source: b, num_images: '3'}", "wrong value for num_images: found 3"),
        ("just words", "x: not an entry: found just words"),
    ],
)
def test_mistakes_in_a_registry_are_named(tmp_path: Path, entry: str, message: str) -> None:
    (tmp_path / "sets.yaml").write_text(f"datasets:\n  x: {entry}\n")
    with pytest.raises(UserError, match=message):
        load_registry(tmp_path / "sets.yaml")


def test_the_manifest_hashes_what_was_annotated(registry: Registry, tmp_path: Path) -> None:
    folder = data_sets.urban1k(tmp_path)
    first = opened(registry, "urban1k", folder).manifest()
    assert first == {
        "dataset": "urban1k",
        "split": "test",
        "task": "retrieval",
        "num_images": 2,
        "num_texts": 2,
        "annotation_sha256": first["annotation_sha256"],
        "text_preprocessing": "first_line",
    }
    (folder / "caption" / "002.txt").write_text("Another caption.")
    assert opened(registry, "urban1k", folder).manifest()["annotation_sha256"] != first["annotation_sha256"]
