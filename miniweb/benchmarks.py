"""Held-out sets in CLIP_benchmark's webdataset layout: `test/0.tar` with key.jpg and key.txt or key.cls."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagetext.shards import make_key
from miniweb import benchmark_items
from miniweb.benchmark_items import Item
from miniweb.config import MiniwebConfig
from miniweb.pictures import draw_picture
from miniweb.products import Made
from runtime.atomic import atomic_directory

SHORT_TEMPLATES = ("{c}", "a {c}", "a picture of a {c}")
RECAPTION_TEMPLATES = {
    "species": ("The image shows one object. There is an object called a {c}.",),
    "kinds": ("The image shows one object. There is a {c}.",),
}
"""Class prompts in the recaptions' manner, so that no arm is judged in a foreign tongue alone."""


@dataclass(frozen=True)
class Benchmark:
    """How a set is made, its type as CLIP_benchmark calls it, and its classes, if it has any."""

    items: Callable[[MiniwebConfig, str], list[Item]]
    dataset_type: str
    classes: tuple[str, ...] = ()


BENCHMARKS: Mapping[str, Benchmark] = {
    "retrieval_short_a": Benchmark(benchmark_items.short_retrieval, "retrieval"),
    "retrieval_short_b": Benchmark(benchmark_items.short_retrieval, "retrieval"),
    "retrieval_long": Benchmark(benchmark_items.long_retrieval, "retrieval"),
    "species": Benchmark(benchmark_items.species_classification, "classification", benchmark_items.SPECIES_CLASSES),
    "kinds": Benchmark(benchmark_items.kind_classification, "classification", benchmark_items.KIND_CLASSES),
    "swap": Benchmark(benchmark_items.colour_swap, "retrieval"),
}


def build_benchmark(config: MiniwebConfig, folder: Path, name: str) -> Made:
    """Write one set, whole or not at all, with `scenes.jsonl` beside: key, scene, texts or label of each sample."""
    benchmark = BENCHMARKS[name]
    items = benchmark.items(config, name)
    target = folder / "benchmarks" / name
    with atomic_directory(target) as partial:
        (partial / "test").mkdir()
        (partial / "test" / "nshards.txt").write_text("1\n")
        (partial / "dataset_type.txt").write_text(f"{benchmark.dataset_type}\n")
        _write_tar(config, partial / "test" / "0.tar", name, items)
        lines = [json.dumps(_record(index, item, benchmark), ensure_ascii=False) for index, item in enumerate(items)]
        (partial / "scenes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if benchmark.classes:
            _write_classes(partial, name, benchmark.classes)
        names = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
    return Made(tuple(target / path for path in names), tuple(item.scene for item in items))


def _record(index: int, item: Item, benchmark: Benchmark) -> dict[str, object]:
    record: dict[str, object] = {"key": make_key(0, index), "scene": item.scene.to_json()}
    if item.label is None:
        return {**record, "texts": list(item.texts)}
    return {**record, "label": item.label, "class": benchmark.classes[item.label]}


def _write_classes(folder: Path, name: str, classes: tuple[str, ...]) -> None:
    def write(file_name: str, lines: tuple[str, ...]) -> None:
        (folder / file_name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    write("classnames.txt", classes)
    write("zeroshot_classification_templates.txt", SHORT_TEMPLATES)
    write("zeroshot_classification_templates_recaption.txt", RECAPTION_TEMPLATES[name])


def _write_tar(config: MiniwebConfig, path: Path, name: str, items: list[Item]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index, item in enumerate(items):
            picture = draw_picture(config, item.scene, name, 0, index)
            label = ("txt", "\n".join(item.texts)) if item.label is None else ("cls", str(item.label))
            for extension, data in (("jpg", picture.jpeg), (label[0], label[1].encode())):
                member = tarfile.TarInfo(f"{make_key(0, index)}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
