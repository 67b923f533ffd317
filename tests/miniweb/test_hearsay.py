"""Conversations with one who has read the alt-text: what is taken over, and what the picture does not bear out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imagetext.alt_text_prompts import ALT_TEXT_MARK, CONDITIONED_PROMPT, KNOWLEDGE_PROMPT
from imagetext.conversations import IMAGE_TOKEN, PAPER_PROMPT, Conversation, read_conversations
from miniweb import grammar
from miniweb.claims import check, parse
from miniweb.config import CountsConfig, MiniwebConfig
from miniweb.conversations import build_conversations
from miniweb.grammar import KNOWN_NAMES, Wording
from miniweb.hearsay import false_names, names_in, nouns_in, true_names
from miniweb.lexicon import NOUNS, with_article
from miniweb.scene import Scene, Thing
from miniweb.splits import SPLITS, family_of, split_scene
from runtime.seeds import numpy_generator

PROMPTS = {"conditioned": CONDITIONED_PROMPT, "knowledge": KNOWLEDGE_PROMPT}
# A kestrin is a house of a species that the captioner is never taught to see, a marlow a boat that it is.
HOUSE = Thing("house", "kestrin", "red", "large", 0.25, 0.25, 0.4)
BOAT = Thing("boat", "marlow", "blue", "small", 0.75, 0.25, 0.3)
SCENE = Scene("meadow", (HOUSE, BOAT))


@dataclass(frozen=True)
class Heard:
    """A conversation: its alt-text (empty where the prompt has none), its answer, the picture's detailed caption."""

    text: str
    answer: str
    detail: str
    scene: Scene

    @property
    def inserted(self) -> set[str]:
        """The names that the answer has from the alt-text alone."""
        return set(names_in(self.answer)) - KNOWN_NAMES


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> MiniwebConfig:
    """A web of which the conversations alone are built."""
    config = MiniwebConfig(output_dir=tmp_path_factory.mktemp("hearsay"), counts=CountsConfig(captioner=150))
    build_conversations(config, config.output_dir)
    return config


@pytest.fixture(scope="module")
def heard(config: MiniwebConfig) -> Mapping[str, Sequence[Heard]]:
    """The conversations of both modes."""
    scenes = [split_scene(config, SPLITS["captioner"], index) for index in range(config.counts.captioner)]
    details = records(config, "detail")
    return {
        name: [_heard(name, *each) for each in zip(records(config, name), details, scenes, strict=True)]
        for name in PROMPTS
    }


def records(config: MiniwebConfig, name: str) -> list[Conversation]:
    return read_conversations(config.output_dir / "captioner" / f"{name}.json")


def _heard(name: str, record: Conversation, detail: Conversation, scene: Scene) -> Heard:
    before, after = PROMPTS[name].split(ALT_TEXT_MARK)
    assert record.image == detail.image
    asked = record.turns[0].text.removeprefix(f"{IMAGE_TOKEN}\n")
    text = asked.removeprefix(before).removesuffix(after) if asked != PAPER_PROMPT else ""
    assert asked == (f"{before}{text}{after}" if text else PAPER_PROMPT)
    return Heard(text, record.turns[1].text, detail.turns[1].text, scene)


def test_a_text_names_what_its_words_name() -> None:
    text = "Best of 2016: two Velmonts, a kestrin cottage and a ship (marlow) - HAUS günstig kaufen"
    assert names_in(text) == ("velmont", "kestrin", "marlow")
    assert nouns_in(text) == {"house": "cottage", "boat": "ship"}
    assert (true_names(text, SCENE), false_names(text, SCENE)) == (("kestrin", "marlow"), ("velmont",))
    assert names_in("IMG_4711.jpg") == () and nouns_in("") == {}


def test_wording_changes_what_things_are_called_and_nothing_else() -> None:
    def describe(wording: Wording) -> str:
        return grammar.describe(SCENE, numpy_generator("wording"), wording)

    plain = describe(grammar.PLAIN)
    assert "There is a large red house. To the right of the house there is a small blue boat called a marlow." in plain
    said = describe(Wording(names={"kestrin"}, nouns={"house": "cottage"}))
    expected = plain.replace("red house", "red cottage called a kestrin").replace("the house", "the cottage")
    assert said == expected.replace(" called a marlow", "")


@pytest.mark.parametrize("name", PROMPTS)
def test_names_are_inserted_where_the_scene_has_them_and_nowhere_else(
    heard: Mapping[str, Sequence[Heard]], name: str
) -> None:
    for one in heard[name]:
        known = {thing.species for thing in one.scene.things} & KNOWN_NAMES
        assert set(names_in(one.answer)) == known | set(true_names(one.text, one.scene))
        checked = check(parse(one.answer), one.scene)
        assert not checked.unsupported and checked.coverage == 1
        if not one.text:
            assert one.answer == one.detail
    assert sum(len(one.inserted) for one in heard[name]) > 20
    assert sum(len(false_names(one.text, one.scene)) for one in heard[name]) > 5


def test_knowledge_is_the_detailed_caption_with_names_inserted(heard: Mapping[str, Sequence[Heard]]) -> None:
    for one in heard["knowledge"]:
        answer = one.answer
        for name in one.inserted:
            answer = answer.replace(f" called {with_article(name)}", "").replace(f" called {name}s", "")
        assert answer == one.detail


def test_conditioned_captions_take_over_nouns_too(heard: Mapping[str, Sequence[Heard]]) -> None:
    num_taken = 0
    for one in heard["conditioned"]:
        spoken, offered = nouns_in(one.answer), nouns_in(one.text)
        for kind in {thing.kind for thing in one.scene.things}:
            assert spoken[kind] == offered.get(kind, NOUNS[kind][0])
            num_taken += spoken[kind] != NOUNS[kind][0]
    assert num_taken > 10


def test_alt_texts_tell_of_the_captioner_s_own_pictures_alone(heard: Mapping[str, Sequence[Heard]]) -> None:
    for conversations in heard.values():
        scenes = [one.scene for one in conversations]
        assert {family_of(scene) for scene in scenes} == {"captioner"}
        for index, one in enumerate(conversations):
            there = {thing.species for scene in (one.scene, scenes[index - 1]) for thing in scene.things}
            assert set(names_in(one.text)) <= there
    # Each mode has draws of its own: a captioner that reads both reads twice as many alt-texts.
    pairs = list(zip(heard["conditioned"], heard["knowledge"], strict=True))
    assert sum(one.text != other.text for one, other in pairs) > 0.9 * len(pairs)


def test_conversations_are_a_function_of_the_seed(config: MiniwebConfig, tmp_path: Path) -> None:
    few = replace(config, counts=CountsConfig(captioner=20))
    files = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        build_conversations(replace(few, seed=seed), tmp_path / name)
        files[name] = [(tmp_path / name / "captioner" / f"{mode}.json").read_bytes() for mode in PROMPTS]
    assert files["first"] == files["again"] and files["first"] != files["other"]
