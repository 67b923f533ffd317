"""Shards other than the web's: one scene a row, one voice a split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.shards import write_shard
from miniweb import alttext, annotator, curator, grammar
from miniweb.config import MiniwebConfig
from miniweb.pictures import draw_picture, shard_row
from miniweb.products import Made
from miniweb.scene import Scene
from miniweb.splits import SPLITS, split_scene
from runtime.seeds import numpy_generator

Voice = Callable[[MiniwebConfig, Scene, np.random.Generator, Scene], tuple[str, dict[str, object]]]


def _as_alt_text(
    config: MiniwebConfig, scene: Scene, generator: np.random.Generator, other: Scene
) -> tuple[str, dict[str, object]]:
    alt = alttext.write(scene, generator, config.web.alt_text, other)
    return alt.text, {"alt_type": alt.type}


def _as_curator(
    config: MiniwebConfig, scene: Scene, generator: np.random.Generator, other: Scene
) -> tuple[str, dict[str, object]]:
    return curator.caption(scene, generator), {}


def _as_annotator(
    config: MiniwebConfig, scene: Scene, generator: np.random.Generator, other: Scene
) -> tuple[str, dict[str, object]]:
    return annotator.caption(scene, generator), {}


def _as_grammar(
    config: MiniwebConfig, scene: Scene, generator: np.random.Generator, other: Scene
) -> tuple[str, dict[str, object]]:
    return grammar.describe(scene, generator), {}


@dataclass(frozen=True)
class PlainSplit:
    """Where a split's shards go, and who writes their .txt."""

    folder: str
    voice: Voice


PLAIN_SPLITS: Mapping[str, PlainSplit] = {
    "foundation": PlainSplit("foundation", _as_curator),
    "captioner_heldout": PlainSplit("captioner_heldout", _as_grammar),
    "judges_train": PlainSplit("judges/train", _as_annotator),
    "judges_test": PlainSplit("judges/test", _as_annotator),
    "development": PlainSplit("development", _as_alt_text),
    "web_heldout": PlainSplit("web_heldout", _as_alt_text),
}


def build_plain_shard(config: MiniwebConfig, folder: Path, split_name: str, index: int, num_rows: int) -> Made:
    """Write one shard of a plain split; the alt-text of held-out web images is not filtered."""
    plain, split = PLAIN_SPLITS[split_name], SPLITS[split_name]
    start = index * config.shard_size
    scenes = [split_scene(config, split, start + row_index) for row_index in range(num_rows)]
    rows = []
    for row_index, scene in enumerate(scenes):
        generator = numpy_generator(config.seed, "caption", split_name, index, row_index)
        caption, facts = plain.voice(config, scene, generator, scenes[row_index - 1])
        picture = draw_picture(config, scene, split_name, index, row_index)
        rows.append(shard_row(picture, index, row_index, caption, **facts))
    target = folder / plain.folder
    name = write_shard(target, index, rows).name
    files = (target / f"{name}.tar", target / f"{name}.parquet", target / f"{name}_stats.json")
    return Made(files, tuple(scenes))
