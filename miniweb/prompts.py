"""Prompts for image generation, from held-out scenes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from imagetext.shards import make_key, write_shard
from miniweb import annotator, grammar
from miniweb.catalogue import SPECIES
from miniweb.config import MiniwebConfig
from miniweb.holdouts import combinations_of, pick_combination
from miniweb.pictures import draw_picture, shard_row
from miniweb.products import Made
from miniweb.scene import Scene, Thing, relations
from miniweb.splits import SPLITS, distinct_scenes, family_of, split_scene
from runtime.atomic import write_text
from runtime.seeds import numpy_generator


def build_prompts(config: MiniwebConfig, folder: Path, name: str) -> Made:
    """Write `prompts/NAME.jsonl`: a line per prompt with key, prompt, recaption_style, scene and held_out.

    `prompt` is a person's short caption in `raw`, a person's long description elsewhere; `recaption_style` tells the
    whole scene as a perfect captioner would.
    """
    scenes = list(_SCENES[name](config))
    lines = [json.dumps(_record(config, name, index, scene), ensure_ascii=False) for index, scene in enumerate(scenes)]
    path = folder / "prompts" / f"{name}.jsonl"
    write_text(path, "\n".join(lines) + "\n")
    return Made((path,), tuple(scenes))


def build_prompt_images(config: MiniwebConfig, folder: Path) -> Made:
    """Write the raw prompts' own pictures as shards: captioned, they become the recaptioned prompts."""
    target = folder / "prompts" / "images"
    scenes = list(_SCENES["raw"](config))
    files: list[Path] = []
    for shard_index in range(-(-len(scenes) // config.shard_size)):
        start = shard_index * config.shard_size
        rows = []
        for row_index, scene in enumerate(scenes[start : start + config.shard_size]):
            prompt = str(_record(config, "raw", start + row_index, scene)["prompt"])
            picture = draw_picture(config, scene, "prompts", shard_index, row_index)
            rows.append(shard_row(picture, shard_index, row_index, prompt))
        name = write_shard(target, shard_index, rows).name
        files += [target / f"{name}.tar", target / f"{name}.parquet", target / f"{name}_stats.json"]
    return Made(tuple(files))


def _record(config: MiniwebConfig, name: str, index: int, scene: Scene) -> dict[str, object]:
    generator = numpy_generator(config.seed, "prompt", name, index)
    shard_index, row_index = divmod(index, config.shard_size)
    return {
        "key": make_key(shard_index, row_index),
        "prompt": annotator.caption(scene, generator) if name == "raw" else annotator.describe(scene, generator),
        "recaption_style": grammar.describe(scene, numpy_generator(config.seed, "recaption style", name, index)),
        "scene": scene.to_json(),
        "held_out": [list(combination) for combination in combinations_of(scene)],
    }


def _raw(config: MiniwebConfig) -> list[Scene]:
    return list(islice(distinct_scenes(config, SPLITS["prompts"]), config.counts.prompts))


def _longer(config: MiniwebConfig) -> list[Scene]:
    return [split_scene(config, SPLITS["longer"], index) for index in range(config.counts.longer)]


def _recombined(config: MiniwebConfig) -> list[Scene]:
    """Return scenes that each show at least one held-out combination."""
    scenes: list[Scene] = []
    split = SPLITS["recombined"]
    for index in count():
        generator = numpy_generator(config.seed, "recombination", index)
        scene = recombine(config, split_scene(config, split, index), generator)
        if scene is not None and combinations_of(scene) and family_of(scene) == split.family:
            scenes.append(scene)
        if len(scenes) == config.counts.recombined:
            return scenes
    raise AssertionError("unreachable")


def recombine(config: MiniwebConfig, scene: Scene, generator: np.random.Generator) -> Scene | None:
    """Put a held-out combination into a scene by changing one thing, or two; None where it has no room for it."""
    combination = pick_combination(generator)
    things = list(scene.things)
    if len(combination) == 2:
        kind, colour = combination
        index = int(generator.integers(len(things)))
        changes = {index: (kind, colour)}
    else:
        first_kind, name, second_kind = combination
        pairs = [relation for relation in relations(scene) if relation.name == name]
        if not pairs:
            return None
        pair = pairs[int(generator.integers(len(pairs)))]
        changes = {pair.subject: (first_kind, things[pair.subject].colour)}
        changes[pair.other] = (second_kind, things[pair.other].colour)
    for index, (kind, colour) in changes.items():
        things[index] = _as_kind(things[index], kind, colour, generator)
    kinds = [thing.kind for thing in things]
    return replace(scene, things=tuple(things)) if len(set(kinds)) == len(kinds) else None


def _as_kind(thing: Thing, kind: str, colour: str, generator: np.random.Generator) -> Thing:
    species = SPECIES[kind][int(generator.integers(len(SPECIES[kind])))]
    return replace(thing, kind=kind, species=species.name, colour=colour)


_SCENES: Mapping[str, Callable[[MiniwebConfig], list[Scene]]] = {
    "raw": _raw,
    "recombined": _recombined,
    "longer": _longer,
}
PROMPT_FILES: tuple[str, ...] = tuple(_SCENES)
