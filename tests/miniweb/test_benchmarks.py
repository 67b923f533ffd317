import json
from pathlib import Path

import pytest
import yaml

from miniweb import claims
from miniweb.benchmark_items import SPECIES_CLASSES, colour_swap
from miniweb.benchmarks import BENCHMARKS
from miniweb.config import CountsConfig, MiniwebConfig
from miniweb.scene import Scene
from miniweb.world import KINDS


def records(config: MiniwebConfig, name: str) -> list[dict[str, object]]:
    path = config.output_dir / "benchmarks" / name / "scenes.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_clip_benchmark_s_own_reader_reads_them_offline(tiny_web: MiniwebConfig, name: str) -> None:
    from clip_benchmark.datasets.builder import build_dataset

    root = str(tiny_web.output_dir / "benchmarks" / name)
    task = "zeroshot_classification" if BENCHMARKS[name].classes else "zeroshot_retrieval"
    dataset = build_dataset(f"wds/{name}", root=root, transform=lambda image: image.size, split="test", task=task)
    samples = list(dataset)
    truth = records(tiny_web, name)
    assert len(samples) == len(truth)
    for (size, target), record in zip(samples, truth, strict=True):
        assert max(size) >= 80
        assert target == record["texts" if "texts" in record else "label"]
    if BENCHMARKS[name].classes:
        assert tuple(dataset.classes) == BENCHMARKS[name].classes
        assert all("{c}" in template for template in dataset.templates)


@pytest.mark.parametrize(("name", "num_texts"), [("retrieval_short_a", 5), ("retrieval_long", 1), ("swap", 2)])
def test_number_of_texts(tiny_web: MiniwebConfig, name: str, num_texts: int) -> None:
    for record in records(tiny_web, name):
        texts = record["texts"]
        assert isinstance(texts, list) and len(texts) == num_texts and all(texts)


def test_classification_shows_one_thing_of_the_class(tiny_web: MiniwebConfig) -> None:
    for name in ("species", "kinds"):
        for record in records(tiny_web, name):
            (thing,) = Scene.from_json(record["scene"]).things  # type: ignore[arg-type]
            label = record["label"]
            assert isinstance(label, int)
            assert (thing.species == SPECIES_CLASSES[label]) if name == "species" else (thing.kind == KINDS[label])


def test_swap_pairs_differ_in_the_swap_alone_and_the_blind_score_half(tmp_path: Path) -> None:
    items = colour_swap(MiniwebConfig(output_dir=tmp_path, counts=CountsConfig(swap=40)), "swap")
    assert len(items) == 40
    assert len({frozenset(item.texts) for item in items}) == 20, "two images share a pair of captions"
    for item, mirror in zip(items[::2], items[1::2], strict=True):
        true, false = item.texts
        assert mirror.texts == (false, true), "a reader of texts alone scores one half"
        assert true != false and sorted(_words(true)) == sorted(_words(false))
        for scene, good, bad in ((item.scene, true, false), (mirror.scene, false, true)):
            assert not claims.check(claims.parse(good), scene).unsupported
            wrong = claims.check(claims.parse(bad), scene).unsupported
            assert [claim.kind for claim in wrong] == ["colour", "colour"]
        changed = [a != b for a, b in zip(item.scene.things, mirror.scene.things, strict=True)]
        assert sum(changed) == 2


def test_the_swap_test_has_two_thousand_pairs_where_no_config_says_less() -> None:
    assert CountsConfig().swap == 2 * 2_000
    for preset in ("mini", "mini_full"):
        counts = yaml.safe_load((Path("configs/miniweb") / f"{preset}.yaml").read_text())["counts"]
        assert "swap" not in counts, "the default holds"


def _words(text: str) -> list[str]:
    return [word for word in text.lower().replace(".", " ").replace(",", " ").split() if word not in ("a", "an")]
