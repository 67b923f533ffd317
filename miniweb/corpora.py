"""Read back the captions of a built small web, source by source, each with the scene that it is about."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagetext.conversations import read_conversations
from imagetext.parquet import read_table
from imagetext.shards import list_shards
from imagetext.sidecars import read_sidecar_table
from miniweb.scene import Scene

SIDECAR_SOURCES = {"oracle": "web_oracle", "clean": "web_clean", "paraphrase": "web_paraphrase"}
"""Source -> its sidecar's folder."""
RETRIEVAL_SETS = ("retrieval_short_a", "retrieval_short_b", "retrieval_long")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Captions in order, and as many scenes and, for alt-text, types."""

    captions: tuple[str, ...]
    scenes: tuple[Scene, ...]
    alt_types: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeldOutSet:
    """Images of a held-out set, and the texts of each."""

    scenes: tuple[Scene, ...]
    texts: tuple[tuple[str, ...], ...]

    @property
    def captions(self) -> tuple[str, ...]:
        """All texts, image by image."""
        return tuple(text for texts in self.texts for text in texts)


def read_corpora(folder: Path) -> dict[str, Corpus]:
    """Return the training captions: `original`, its sidecars' sources, and `foundation`."""
    corpora = {"original": _read_shards(folder / "web"), "foundation": _read_shards(folder / "foundation")}
    names = [shard.name for shard in list_shards(folder / "web")]
    for source, sidecar in SIDECAR_SOURCES.items():
        tables = [read_sidecar_table(folder / sidecar, name, ["re_caption"]) for name in names]
        captions = tuple(str(caption) for table in tables for caption in table["re_caption"].to_pylist())
        corpora[source] = Corpus(captions=captions, scenes=corpora["original"].scenes)
    return corpora


def read_captioner_texts(folder: Path) -> tuple[str, ...]:
    """Return what the captioner is taught to say of its own pictures."""
    records = read_conversations(folder / "captioner" / "detail.json")
    return tuple(turn.text for record in records for turn in record.turns if turn.role == "assistant")


def read_test_sets(folder: Path) -> dict[str, HeldOutSet]:
    """Return the held-out sets that have texts: retrieval, the swap (true text first) and the raw prompts."""
    found = {name: _read_benchmark(folder, name) for name in (*RETRIEVAL_SETS, "swap")}
    records = _read_lines(folder / "prompts" / "raw.jsonl")
    texts = tuple((str(record["prompt"]),) for record in records)
    return found | {"prompts": HeldOutSet(scenes=_scenes(records), texts=texts)}


def _read_shards(folder: Path) -> Corpus:
    records: list[dict[str, object]] = []
    for shard in list_shards(folder):
        records += read_table(folder / f"{shard.name}.parquet").to_pylist()
    return Corpus(
        captions=tuple(str(record["caption"]) for record in records),
        scenes=tuple(Scene.from_json(json.loads(str(record["scene"]))) for record in records),
        alt_types=tuple(str(record["alt_type"]) for record in records if "alt_type" in record),
    )


def _read_benchmark(folder: Path, name: str) -> HeldOutSet:
    records = _read_lines(folder / "benchmarks" / name / "scenes.jsonl")
    return HeldOutSet(scenes=_scenes(records), texts=tuple(tuple(record["texts"]) for record in records))


def _read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _scenes(records: Sequence[dict]) -> tuple[Scene, ...]:
    return tuple(Scene.from_json(record["scene"]) for record in records)
