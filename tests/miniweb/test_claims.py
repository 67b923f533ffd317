"""Claims: whole on every voice, one error per perturbation, optimal matching, imperfect captions."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from miniweb import alttext, annotator, curator, grammar
from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES
from miniweb.checking import MAX_MATCHINGS_TRIED, _num_supported
from miniweb.claims import Checked, Claim, Perceived, check, parse
from miniweb.scene import Scene, Thing
from miniweb.world import DomainName, sample_scene
from runtime.seeds import numpy_generator

Voice = Callable[[Scene, np.random.Generator], str]
VOICES: dict[str, Voice] = {
    "grammar": grammar.describe,
    "grammar, all species": lambda scene, generator: grammar.describe(scene, generator, grammar.ALL_NAMES),
    "grammar, short": grammar.short,
    "annotator, short": annotator.caption,
    "annotator, long": annotator.describe,
    "curator, short": curator.short,
    "curator, dense": curator.dense,
    "clean alt-text": lambda scene, generator: alttext.write_clean(scene, generator).text,
}
DOMAINS: tuple[DomainName, ...] = ("web", "benchmark_a", "crowded", "judges")

RED_HOUSE = Thing("house", "velmont", "red", "large", 0.25, 0.25, 0.45)
BLUE_BOAT = Thing("boat", "marlow", "blue", "small", 0.75, 0.25, 0.3)
HOUSE_AND_BOAT = Scene("meadow", (RED_HOUSE, BLUE_BOAT))


def scenes(num: int, domain: DomainName = "web") -> list[Scene]:
    generator = numpy_generator("claims", domain)
    return [sample_scene(generator, domain) for _ in range(num)]


def error_kinds(checked: Checked) -> Counter[str]:
    return Counter(claim.kind for claim in checked.unsupported)


def judged(text: str, scene: Scene = HOUSE_AND_BOAT) -> Checked:
    return check(parse(text), scene)


@pytest.mark.parametrize("num_scenes", [40, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("voice", VOICES)
def test_every_claim_of_every_voice_is_understood_and_true(voice: str, num_scenes: int) -> None:
    generator = numpy_generator("write", voice)
    for domain in DOMAINS:
        for scene in scenes(num_scenes, domain):
            text = VOICES[voice](scene, generator)
            checked = judged(text, scene)
            assert checked.num_unparsed_sentences == 0, text
            assert (checked.unsupported, checked.void) == ((), ()), text


@pytest.mark.parametrize("voice", ["grammar, all species", "annotator, long"])
def test_descriptions_cover_the_scene(voice: str) -> None:
    generator = numpy_generator("write", voice)
    coverage = [
        judged(VOICES[voice](scene, generator), scene).coverage for domain in DOMAINS for scene in scenes(60, domain)
    ]
    assert np.mean(coverage) > 0.999


def test_grammar_with_all_species_misses_nothing_but_ties_of_doubles() -> None:
    generator = numpy_generator("write")
    for scene in scenes(150):
        checked = judged(grammar.describe(scene, generator, grammar.ALL_NAMES), scene)
        assert {claim.kind for claim in checked.missed} <= {"relation"}


def test_alt_text_errs_about_as_often_as_it_is_meant_to() -> None:
    generator, web = numpy_generator("alt"), scenes(300)
    rates = alttext.AltTextRates()
    for scene, neighbour in itertools.pairwise(web):
        alt = alttext.write(scene, generator, rates, neighbour)
        checked = judged(alt.text, scene)
        if alt.type in ("human", "species", "partial", "foreign"):
            assert not checked.unsupported
            assert checked.supported
        if alt.type in ("filename", "spam", "empty"):
            assert checked.num_claims == 0


def change(scene: Scene, **changes: str) -> Scene:
    first, *rest = scene.things
    return Scene(scene.background, (replace(first, **changes), *rest))


def other_than(options: tuple[str, ...], taken: set[str], generator: np.random.Generator) -> str:
    free = [option for option in options if option not in taken]
    return free[int(generator.integers(len(free)))]


def perturbed(kind: str, scene: Scene, generator: np.random.Generator) -> Scene:
    """Return a scene that differs from the true one by one error of the given kind."""
    first = scene.things[0]
    if kind == "colour":
        return change(scene, colour=other_than(tuple(COLOURS), {first.colour}, generator))
    if kind == "size":
        return change(scene, size="small" if first.size == "large" else "large")
    if kind == "background":
        return Scene(other_than(BACKGROUNDS, {scene.background}, generator), scene.things)
    if kind == "species":
        names = tuple(species.name for species in SPECIES[first.kind])
        return change(scene, species=other_than(names, {first.species}, generator))
    new = other_than(KINDS, {thing.kind for thing in scene.things}, generator)
    return change(scene, kind=new, species=SPECIES[new][0].name)


@pytest.mark.parametrize("kind", ["colour", "size", "background", "species", "object"])
@pytest.mark.parametrize("voice", ["grammar, all species", "curator, dense"])
def test_each_error_is_flagged_once_as_what_it_is(kind: str, voice: str) -> None:
    generator = numpy_generator("perturb", kind)
    num_flagged = 0
    for scene in scenes(60):
        if len({thing.kind for thing in scene.things}) < len(scene.things):
            continue
        wrong = perturbed(kind, scene, generator)
        seed = int(generator.integers(2**31))
        text = VOICES[voice](wrong, np.random.default_rng(seed))
        true_text = VOICES[voice](scene, np.random.default_rng(seed))
        expected = Counter({kind: 1}) if parse(text) != parse(true_text) else Counter()
        checked = judged(text, scene)
        assert error_kinds(checked) == expected, text
        assert kind == "object" or not checked.void
        num_flagged += sum(expected.values())
    assert num_flagged > 25


def test_swapped_colours_of_a_pair_are_flagged_each() -> None:
    generator = numpy_generator("swap")
    swappable = [scene for scene in scenes(150) if annotator.swappable(scene)]
    for scene in swappable:
        true, false = annotator.swap_pair(scene, generator)
        assert not judged(true, scene).unsupported
        assert error_kinds(judged(false, scene)) == {"colour": 2}


FLIPS = {"to the left of": "to the right of", "above": "below", "below": "above", "to the right of": "to the left of"}


def test_each_flipped_relation_is_flagged_once() -> None:
    generator = numpy_generator("flip")
    num_flipped = 0
    for scene in scenes(80):
        text = grammar.describe(scene, generator)
        sentences = text.split(". ")
        for i, sentence in enumerate(sentences):
            phrase = next((phrase for phrase in FLIPS if phrase in sentence.lower()), None)
            if phrase:
                flipped = sentence.lower().replace(phrase, FLIPS[phrase])
                checked = judged(". ".join([*sentences[:i], flipped, *sentences[i + 1 :]]), scene)
                assert error_kinds(checked) == {"relation": 1}, flipped
                num_flipped += 1
    assert num_flipped > 50


def test_a_count_that_is_off_is_flagged_once() -> None:
    generator = numpy_generator("count")
    for scene in scenes(60):
        told = grammar.count_phrase(len(scene.things))
        text = grammar.describe(scene, generator).replace(told, grammar.count_phrase(len(scene.things) + 1))
        assert error_kinds(judged(text, scene)) == {"count": 1}


def test_too_many_of_a_kind_is_a_wrong_count_and_no_more() -> None:
    scene = Scene("meadow", (RED_HOUSE, replace(RED_HOUSE, x=0.75)))
    assert error_kinds(judged("There are three large red houses.", scene)) == {"count": 1}
    assert not judged("There are two large red houses.", scene).unsupported
    assert not judged("A red house left of another red house.", scene).unsupported


def test_an_extra_object_is_flagged_once_and_its_properties_are_void() -> None:
    checked = judged("A red house. There is a large green rocket above the house.")
    assert error_kinds(checked) == {"object": 1}
    assert Counter(claim.kind for claim in checked.void) == {"size": 1, "colour": 1, "relation": 1}
    assert checked.unsupported_share == 4 / 6


def test_bindings_matter() -> None:
    assert not judged("A red house left of a blue boat.").unsupported
    assert error_kinds(judged("A blue house left of a red boat.")) == {"colour": 2}
    assert error_kinds(judged("A red house right of a blue boat.")) == {"relation": 1}


@pytest.mark.parametrize(
    "text",
    [
        "A house left of a boat.",
        "A boat right of a house.",
        "To the left of the boat there is a house.",
        "On the right side of a house, a boat.",
        "Look left of that boat and you discover a house.",
        "My picture of a house in a meadow, left of a boat.",
    ],
)
def test_one_relation_in_many_forms(text: str) -> None:
    parsed = parse(text)
    (relation,) = [claim for claim in parsed.claims if claim.kind == "relation"]
    subject, other = parsed.mentions[relation.subject].kind, parsed.mentions[relation.other].kind
    assert (subject, relation.value, other) in [("house", "left of", "boat"), ("boat", "right of", "house")]
    assert parsed.num_unparsed_sentences == 0


@pytest.mark.parametrize(
    "text",
    [
        "There is a large red.",
        "There is a blorp.",
        "Above the house.",
        "A house called a blorp.",
        "Lorem ipsum dolor.",
        "It is calm.",
    ],
)
def test_what_cannot_be_understood_is_counted(text: str) -> None:
    assert parse(text).num_unparsed_sentences == 1
    assert parse(f"A red house. {text}").num_unparsed_sentences == 1


def test_a_repeated_fact_is_one_claim() -> None:
    once = parse("A red house left of a blue boat.")
    twice = parse("A red house left of a blue boat. The boat is right of the red house. The house is red.")
    assert once.claims == twice.claims


def test_an_empty_caption_claims_nothing_and_misses_everything() -> None:
    checked = judged("")
    assert (checked.num_claims, checked.coverage, checked.unsupported_share) == (0, 0.0, 0.0)
    assert Counter(claim.kind for claim in checked.missed) == {
        "object": 2,
        "colour": 2,
        "size": 2,
        "species": 2,
        "background": 1,
        "relation": 1,
    }


def test_coverage_counts_objects_colours_place_and_ties() -> None:
    assert judged("A red house in a meadow.").coverage == 3 / 6
    assert judged("A red house left of a blue boat in a meadow.").coverage == 1.0


def best_by_brute_force(text: str, scene: Scene) -> int:
    """Count the claims that hold under the best of all injective partial matchings."""
    parsed = parse(text)
    best = 0
    numbers = range(len(parsed.mentions))
    for chosen in itertools.product(range(-1, len(scene.things)), repeat=len(parsed.mentions)):
        used = [index for index in chosen if index >= 0]
        kinds_fit = all(
            index < 0 or scene.things[index].kind == parsed.mentions[number].kind
            for number, index in zip(numbers, chosen)
        )
        if len(set(used)) == len(used) and kinds_fit:
            matching = {number: (index,) for number, index in zip(numbers, chosen) if index >= 0}
            best = max(best, _num_supported(parsed.claims, matching, parsed, scene))
    return best


def test_matching_is_as_good_as_the_best_of_all() -> None:
    generator = numpy_generator("matching")
    for _ in range(150):
        cells = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
        things = tuple(
            Thing("house", "velmont", *_look(generator), *cell, 0.4)  # type: ignore[arg-type]
            for cell in cells[: int(generator.integers(2, 5))]
        )
        scene = Scene("meadow", things)
        looks = [" ".join(reversed(_look(generator))) for _ in range(int(generator.integers(1, 5)))]
        text = ". ".join(f"A {look} house" for look in looks)
        assert len(judged(text, scene).supported) == best_by_brute_force(text, scene)


def _look(generator: np.random.Generator) -> tuple[str, str]:
    return ("red", "blue")[int(generator.integers(2))], ("small", "large")[int(generator.integers(2))]


def test_a_caption_that_repeats_itself_is_matched_fast_and_well() -> None:
    houses = [replace(RED_HOUSE, colour=colour) for colour in ("red", "green", "pink", "black")]
    scene = Scene("meadow", tuple(houses))
    text = "A blue house. " * 30 + "A red house. A green house. A pink house. A black house."
    assert MAX_MATCHINGS_TRIED < 34 * 33 * 32 * 31
    checked = judged(text, scene)
    assert Counter(claim.kind for claim in checked.supported) == {"object": 4, "colour": 4}
    assert error_kinds(checked) == {"object": 30}


def test_a_generated_image_is_scored_with_extra_things_against_it() -> None:
    prompt = parse("A red house in a meadow.")
    seen = Perceived("meadow", (RED_HOUSE, BLUE_BOAT))
    assert check(prompt, seen).followed_share == 3 / 4
    assert check(prompt, Perceived("meadow", (RED_HOUSE,))).followed_share == 1.0
    assert check(prompt, Perceived(None, ())).followed_share == 0.0
    blind = check(prompt, Perceived(None, (RED_HOUSE,)), kinds=("object", "colour"))
    assert (blind.followed_share, blind.num_claims) == (1.0, 2)


def test_claims_are_data() -> None:
    parsed = parse("Two red houses.")
    assert parsed.claims == (Claim("object", "house", 0), Claim("count", "2", 0), Claim("colour", "red", 0))
