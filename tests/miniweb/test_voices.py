"""The five voices: grammar, annotator, curator, alt-text and its knockout variants."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from miniweb import alttext, annotator, curator, grammar
from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES_BY_NAME
from miniweb.lexicon import COLOUR_WORDS, FOREIGN_NOUNS, NOUNS, PLACE_WORDS, PLACES, RELATION_WORDS, SIZE_WORDS
from miniweb.pointing import groups, shared_relations
from miniweb.scene import Scene, Thing
from miniweb.world import sample_scene
from runtime.errors import UserError
from runtime.seeds import numpy_generator

NUM_SCENES = 400


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    generator = numpy_generator("voices")
    return [sample_scene(generator, "web") for _ in range(NUM_SCENES)]


@pytest.fixture
def generator() -> np.random.Generator:
    return numpy_generator("writer")


@pytest.fixture
def house_and_boat() -> Scene:
    house = Thing("house", "velmont", "red", "large", 0.25, 0.5, 0.45)
    return Scene("meadow", (house, Thing("boat", "quellic", "blue", "small", 0.75, 0.5, 0.3)))


def padded(texts: Iterable[str]) -> str:
    """Join texts into one line of lower-case words without punctuation."""
    return f" {' '.join(re.findall(r'[a-z]+', ' '.join(texts).lower()))} "


def mean_length(texts: list[str]) -> float:
    return float(np.mean([len(text.split()) for text in texts]))


def test_every_kind_colour_size_place_and_relation_has_words() -> None:
    assert set(NOUNS) == set(FOREIGN_NOUNS) == set(KINDS)
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert set(PLACES) == set(PLACE_WORDS) == set(BACKGROUNDS)
    for background, places in PLACES.items():
        for place, word in zip(places, PLACE_WORDS[background], strict=True):
            assert word in place.split()


def test_no_word_means_two_things() -> None:
    tables = (NOUNS, COLOUR_WORDS, SIZE_WORDS, PLACE_WORDS, FOREIGN_NOUNS)
    words = [word for table in tables for entries in table.values() for word in entries] + list(SPECIES_BY_NAME)
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_grammar_states_everything_of_a_known_scene(house_and_boat: Scene, generator: np.random.Generator) -> None:
    text = grammar.describe(house_and_boat, generator)
    assert "two objects in a meadow." in text
    assert "There is a large red house called a velmont. To the right of the house there is a small blue boat." in text
    assert "quellic" not in text
    every = grammar.describe(house_and_boat, generator, grammar.ALL_NAMES)
    assert "a small blue boat called a quellic." in every


def test_grammar_counts_doubles(generator: np.random.Generator) -> None:
    house = Thing("house", "tarsk", "red", "large", 0.25, 0.25, 0.45)
    scene = Scene("beach", (house, replace(house, x=0.75), Thing("cat", "pawlin", "pink", "small", 0.25, 0.75, 0.3)))
    text = grammar.describe(scene, generator)
    assert "There are two large red houses called tarsks. Below the houses there is a small pink cat." in text


def test_grammar_is_near_the_papers_length_and_never_overlong(
    scenes: list[Scene], generator: np.random.Generator
) -> None:
    texts = [grammar.describe(scene, generator) for scene in scenes]
    assert 47 <= mean_length(texts) <= 52
    assert max(len(text.split()) for text in texts) <= 95


def test_grammar_names_known_species_alone(scenes: list[Scene], generator: np.random.Generator) -> None:
    for scene in scenes:
        words = set(grammar.describe(scene, generator).replace(".", "").split())
        for thing in scene.things:
            named = thing.species in words or f"{thing.species}s" in words
            assert named == SPECIES_BY_NAME[thing.species].known_to_captioner


def test_annotator_writes_short_and_long(scenes: list[Scene], generator: np.random.Generator) -> None:
    short = [annotator.caption(scene, generator) for scene in scenes]
    long = [annotator.describe(scene, generator) for scene in scenes]
    assert 7 <= mean_length(short) <= 11
    assert mean_length(long) > 45
    assert all(text[0].isupper() and text.endswith(".") and "  " not in text and " ." not in text for text in short)


def test_five_captions_of_one_image_differ(house_and_boat: Scene, generator: np.random.Generator) -> None:
    assert len({annotator.caption(house_and_boat, generator) for _ in range(5)}) >= 4


def test_people_use_every_word_of_the_lexicon(scenes: list[Scene], generator: np.random.Generator) -> None:
    human = padded(annotator.caption(scene, generator) for scene in scenes for _ in range(4))
    web = padded(alttext.write_clean(scene, generator).text for scene in scenes for _ in range(2))
    for table in (NOUNS, COLOUR_WORDS, SIZE_WORDS, PLACES, RELATION_WORDS):
        for word in itertools.chain.from_iterable(table.values()):
            assert f" {word} " in human, word
            assert f" {word} " in web, word


def test_curator_covers_the_lexicon_and_all_species(generator: np.random.Generator) -> None:
    scenes = [sample_scene(generator, "foundation") for _ in range(1500)]
    words = set(" ".join(curator.caption(scene, generator) for scene in scenes).lower().replace(".", "").split())
    words |= {word.rstrip(",;:s") for word in words} | {word.rstrip(",;:") for word in words}
    tables = (NOUNS, COLOUR_WORDS, SIZE_WORDS, PLACE_WORDS)
    wanted = {word for table in tables for entries in table.values() for word in entries} | set(SPECIES_BY_NAME)
    assert wanted - words == set()


def test_voices_share_no_sentence_forms(scenes: list[Scene], generator: np.random.Generator) -> None:
    """No run of five words is common to the grammar and the annotator."""

    def runs(texts: list[str]) -> set[tuple[str, ...]]:
        sentences = [sentence for text in texts for sentence in re.split(r"[.:]", text.lower().replace(",", ""))]
        split = [sentence.split() for sentence in sentences]
        return {tuple(words[i : i + 5]) for words in split for i in range(len(words) - 4)}

    ours = runs([grammar.describe(scene, generator) for scene in scenes])
    theirs = runs([f(scene, generator) for scene in scenes for f in (annotator.caption, annotator.describe)])
    assert not ours & theirs


def test_swap_pair_exchanges_colours_and_nothing_else(scenes: list[Scene], generator: np.random.Generator) -> None:
    swappable = [scene for scene in scenes if annotator.swappable(scene)]
    assert len(swappable) > 100
    for scene in swappable:
        true, false = annotator.swap_pair(scene, generator)
        assert true != false
        words = [sorted(text.lower().replace(".", "").replace(",", "").split()) for text in (true, false)]
        assert words[0] == words[1]


def test_a_scene_without_two_colours_has_no_swap(house_and_boat: Scene, generator: np.random.Generator) -> None:
    alone = Scene("meadow", house_and_boat.things[:1])
    with pytest.raises(UserError, match="two lone things of unlike kind and colour"):
        annotator.swap_pair(alone, generator)


def test_alt_text_keeps_its_rates(generator: np.random.Generator) -> None:
    scenes = [sample_scene(generator, "web") for _ in range(2000)]
    rates = alttext.AltTextRates()
    texts = [alttext.write(scene, generator, rates, scenes[i - 1]) for i, scene in enumerate(scenes)]
    counts = Counter(text.type for text in texts)
    for name, share in zip(alttext.ALT_TYPES, rates.type_shares, strict=True):
        assert abs(counts[name] / len(texts) - share) < 4 * (share * (1 - share) / len(texts)) ** 0.5, name
    assert 9 <= mean_length([text.text for text in texts]) <= 11.5


def test_wrong_alt_text_tells_of_the_neighbour(house_and_boat: Scene, generator: np.random.Generator) -> None:
    shares = dict.fromkeys(alttext.ALT_TYPES, 0.0) | {"wrong": 0.6, "species": 0.4}
    rates = alttext.AltTextRates(**shares)
    cat = Scene("sky", (Thing("cat", "pawlin", "pink", "small", 0.5, 0.5, 0.3),))
    for _ in range(50):
        alt = alttext.write(house_and_boat, generator, rates, cat)
        assert ("pawlin" in alt.text) == (alt.type == "wrong")


@pytest.mark.parametrize("shares", [{"human": 0.5}, {"human": -0.1, "partial": 0.43}])
def test_alt_text_rates_must_be_shares(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match="alt-text rates"):
        alttext.AltTextRates(**shares)


def test_clean_alt_text_tells_all(house_and_boat: Scene, generator: np.random.Generator) -> None:
    for _ in range(20):
        alt = alttext.write_clean(house_and_boat, generator)
        assert "velmont" in alt.text
        assert "quellic" in alt.text
        assert alt.told.relation
        assert alt.told.place


def test_paraphrase_says_what_the_alt_text_said(scenes: list[Scene], generator: np.random.Generator) -> None:
    rates = alttext.AltTextRates()
    for scene, neighbour in itertools.pairwise(scenes):
        alt = alttext.write(scene, generator, rates, neighbour)
        text = alttext.paraphrase(alt, generator)
        for group in alt.told.groups:
            assert group.phrase in alt.text.lower()
            assert group.phrase in text


def test_voices_depend_on_the_generator_alone(scenes: list[Scene]) -> None:
    for write in (grammar.describe, annotator.caption, annotator.describe, curator.caption):
        first, second = (
            [write(scene, numpy_generator("x", i)) for i, scene in enumerate(scenes[:50])] for _ in range(2)
        )
        assert first == second


def test_groups_relate_only_where_all_members_do() -> None:
    house = Thing("house", "tarsk", "red", "large", 0.25, 0.25, 0.45)
    cat = Thing("cat", "pawlin", "pink", "small", 0.75, 0.25, 0.3)
    scene = Scene("beach", (house, cat, replace(house, x=0.75, y=0.75)))
    assert groups(scene) == ((0, 2), (1,))
    assert shared_relations(scene, (1,), (0, 2)) == ()
    assert shared_relations(scene, (1,), (0,)) == ("right of",)
