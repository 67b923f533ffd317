"""The captioner's training data: pictures of a curated domain, and conversations about them in LLaVA's JSON."""

from collections.abc import Callable, Mapping
from pathlib import Path

from imagetext.conversations import IMAGE_TOKEN, PAPER_PROMPT, Conversation, Turn, write_conversations
from imagetext.shards import make_key
from miniweb import grammar
from miniweb.config import MiniwebConfig
from miniweb.pictures import draw_picture
from miniweb.products import Made
from miniweb.questions import ask
from miniweb.scene import Scene
from miniweb.splits import SPLITS, split_scene
from runtime.atomic import atomic_directory
from runtime.seeds import numpy_generator

ALIGN_PROMPT = "Give a short caption of this image."
_NUM_QUESTIONS = 3

Writer = Callable[[MiniwebConfig, Scene, int], list[tuple[str, str]]]


def build_captioner_images(config: MiniwebConfig, folder: Path, index: int, num_rows: int) -> Made:
    """Write one folder of the captioner's pictures, `captioner/images/NNNNN/KEY.jpg`."""
    start = index * config.shard_size
    scenes = [split_scene(config, SPLITS["captioner"], start + row_index) for row_index in range(num_rows)]
    target = folder / "captioner" / "images" / f"{index:05d}"
    with atomic_directory(target) as partial:
        for row_index, scene in enumerate(scenes):
            picture = draw_picture(config, scene, "captioner", index, row_index)
            (partial / Path(image_path(config, start + row_index)).name).write_bytes(picture.jpeg)
    files = tuple(target / Path(image_path(config, start + row_index)).name for row_index in range(num_rows))
    return Made(files, tuple(scenes))


def build_conversations(config: MiniwebConfig, folder: Path) -> Made:
    """Write the captioner's conversation files, `captioner/NAME.json`."""
    scenes = [split_scene(config, SPLITS["captioner"], index) for index in range(config.counts.captioner)]
    files = []
    for name in _WRITERS:
        records = [_record(config, name, index, scene) for index, scene in enumerate(scenes)]
        files.append(folder / "captioner" / f"{name}.json")
        write_conversations(files[-1], records)
    return Made(tuple(files))


def build_texts(config: MiniwebConfig, folder: Path) -> Made:
    """Write `captioner/text.json`: descriptions without an image."""
    path = folder / "captioner" / "text.json"
    write_conversations(path, [_text_record(config, index) for index in range(config.counts.captioner_text)])
    return Made((path,))


def image_path(config: MiniwebConfig, index: int) -> str:
    """Return where picture number `index` lies, relative to `captioner/images`."""
    shard_index, row_index = divmod(index, config.shard_size)
    return f"{shard_index:05d}/{make_key(shard_index, row_index)}.jpg"


def _align(config: MiniwebConfig, scene: Scene, index: int) -> list[tuple[str, str]]:
    return [(ALIGN_PROMPT, grammar.short(scene, numpy_generator(config.seed, "align", index)))]


def _instruct(config: MiniwebConfig, scene: Scene, index: int) -> list[tuple[str, str]]:
    return ask(scene, numpy_generator(config.seed, "instruct", index), _NUM_QUESTIONS)


def _detail(config: MiniwebConfig, scene: Scene, index: int) -> list[tuple[str, str]]:
    return [(PAPER_PROMPT, grammar.describe(scene, numpy_generator(config.seed, "detail", index)))]


def _detail_all_species(config: MiniwebConfig, scene: Scene, index: int) -> list[tuple[str, str]]:
    generator = numpy_generator(config.seed, "detail", index)
    return [(PAPER_PROMPT, grammar.describe(scene, generator, known_species_only=False))]


_WRITERS: Mapping[str, Writer] = {
    "align": _align,
    "instruct": _instruct,
    "detail": _detail,
    "detail_all_species": _detail_all_species,
}


def _record(config: MiniwebConfig, name: str, index: int, scene: Scene) -> Conversation:
    turns: list[Turn] = []
    for question, answer in _WRITERS[name](config, scene, index):
        turns += [Turn("user", question if turns else f"{IMAGE_TOKEN}\n{question}"), Turn("assistant", answer)]
    return Conversation(id=f"{name}-{index:06d}", turns=tuple(turns), image=image_path(config, index))


def _text_record(config: MiniwebConfig, index: int) -> Conversation:
    """Return a description of a scene that was never drawn: the language model learns how descriptions go."""
    scene = split_scene(config, SPLITS["captioner_text"], index)
    text = grammar.describe(scene, numpy_generator(config.seed, "text", index))
    return Conversation(id=f"text-{index:06d}", turns=(Turn("user", PAPER_PROMPT), Turn("assistant", text)))
