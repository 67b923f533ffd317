"""The captioner's training data: pictures of a curated domain, and conversations about them in LLaVA's JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imagetext.alt_text_prompts import CONDITIONED_PROMPT, KNOWLEDGE_PROMPT, put_alt_text
from imagetext.conversations import IMAGE_TOKEN, PAPER_PROMPT, Conversation, Turn, write_conversations
from imagetext.shards import make_key
from miniweb import alttext, grammar
from miniweb.config import MiniwebConfig
from miniweb.grammar import KNOWN_NAMES, Wording
from miniweb.hearsay import nouns_in, true_names
from miniweb.pictures import draw_picture
from miniweb.products import Made
from miniweb.questions import ask
from miniweb.scene import Scene
from miniweb.splits import SPLITS, split_scene
from runtime.atomic import atomic_directory
from runtime.seeds import numpy_generator

ALIGN_PROMPT = "Give a short caption of this image."
_NUM_QUESTIONS = 3

Writer = Callable[[MiniwebConfig, Sequence[Scene], int], list[tuple[str, str]]]
"""Of one scene of all: questions and answers."""


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
        records = [_record(config, name, scenes, index) for index in range(len(scenes))]
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


def _align(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    return [(ALIGN_PROMPT, grammar.short(scenes[index], numpy_generator(config.seed, "align", index)))]


def _instruct(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    return ask(scenes[index], numpy_generator(config.seed, "instruct", index), _NUM_QUESTIONS)


def _detail(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    return [(PAPER_PROMPT, _described(config, scenes[index], index, grammar.PLAIN))]


def _detail_all_species(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    return [(PAPER_PROMPT, _described(config, scenes[index], index, grammar.ALL_NAMES))]


def _conditioned(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    """Tell what one tells who has read the alt-text: things bear its nouns and its names where it speaks of them."""
    text = _alt_text(config, "conditioned", scenes, index)
    wording = Wording(names=KNOWN_NAMES.union(true_names(text, scenes[index])), nouns=nouns_in(text))
    return [(put_alt_text(CONDITIONED_PROMPT, text), _described(config, scenes[index], index, wording))]


def _knowledge(config: MiniwebConfig, scenes: Sequence[Scene], index: int) -> list[tuple[str, str]]:
    """Tell what the picture alone tells, with the names that only the alt-text has and the scene bears out."""
    text = _alt_text(config, "knowledge", scenes, index)
    wording = Wording(names=KNOWN_NAMES.union(true_names(text, scenes[index])))
    return [(put_alt_text(KNOWLEDGE_PROMPT, text), _described(config, scenes[index], index, wording))]


def _described(config: MiniwebConfig, scene: Scene, index: int, wording: Wording) -> str:
    """Return the detailed caption of picture number `index`: in all files the same but for what things are called."""
    return grammar.describe(scene, numpy_generator(config.seed, "detail", index), wording)


def _alt_text(config: MiniwebConfig, name: str, scenes: Sequence[Scene], index: int) -> str:
    """Draw what a web page would say beside the picture, with the web's noise; a wrong one tells of its neighbour."""
    generator = numpy_generator(config.seed, "captioner alt-text", name, index)
    return alttext.write(scenes[index], generator, config.web.alt_text, scenes[index - 1]).text


_WRITERS: Mapping[str, Writer] = {
    "align": _align,
    "instruct": _instruct,
    "detail": _detail,
    "detail_all_species": _detail_all_species,
    "conditioned": _conditioned,
    "knowledge": _knowledge,
}


def _record(config: MiniwebConfig, name: str, scenes: Sequence[Scene], index: int) -> Conversation:
    turns: list[Turn] = []
    for question, answer in _WRITERS[name](config, scenes, index):
        turns += [Turn("user", question if turns else f"{IMAGE_TOKEN}\n{question}"), Turn("assistant", answer)]
    return Conversation(id=f"{name}-{index:06d}", turns=tuple(turns), image=image_path(config, index))


def _text_record(config: MiniwebConfig, index: int) -> Conversation:
    """Return a description of a scene that was never drawn: the language model learns how descriptions go."""
    scene = split_scene(config, SPLITS["captioner_text"], index)
    text = grammar.describe(scene, numpy_generator(config.seed, "text", index))
    return Conversation(id=f"text-{index:06d}", turns=(Turn("user", PAPER_PROMPT), Turn("assistant", text)))
