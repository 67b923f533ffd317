"""Questions about a scene with their answers: what an instruction-tuned captioner is asked besides captions."""

from collections.abc import Callable

import numpy as np

from miniweb.catalogue import BACKGROUNDS, KINDS
from miniweb.lexicon import COLOUR_WORDS, NOUNS, NUMBERS, capitalised, pick, with_article
from miniweb.scene import Scene, Thing, relations

Question = tuple[str, str]

_RELATION_QUESTIONS = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}


def ask(scene: Scene, generator: np.random.Generator, num_questions: int) -> list[Question]:
    """Return distinct questions on a scene with their true answers; as many as there are, up to `num_questions`."""
    asked: dict[str, str] = {}
    for index in generator.permutation(len(_FORMS) * 2)[: 3 * num_questions]:
        found = _FORMS[index % len(_FORMS)](scene, generator)
        if found is not None and len(asked) < num_questions:
            asked.setdefault(*found)
    return list(asked.items())


def lone_things(scene: Scene) -> list[Thing]:
    """Return the things that are the only one of their kind: `the boat` means one of these."""
    kinds = [thing.kind for thing in scene.things]
    return [thing for thing in scene.things if kinds.count(thing.kind) == 1]


def _noun(kind: str) -> str:
    return NOUNS[kind][0]


def ask_presence(scene: Scene, generator: np.random.Generator) -> Question:
    """Ask whether a kind is there; as often truly as falsely."""
    present = [thing.kind for thing in scene.things]
    absent = [kind for kind in KINDS if kind not in present]
    is_there = bool(generator.random() < 0.5)
    kind = pick(present if is_there else absent, generator)
    return f"Is there {with_article(_noun(kind))} in the image?", "Yes." if is_there else "No."


def _ask_colour(scene: Scene, generator: np.random.Generator) -> Question | None:
    lone = lone_things(scene)
    if not lone:
        return None
    thing = pick(lone, generator)
    return f"What colour is the {_noun(thing.kind)}?", capitalised(f"{COLOUR_WORDS[thing.colour][0]}.")


def _ask_kind(scene: Scene, generator: np.random.Generator) -> Question | None:
    colours = [thing.colour for thing in scene.things]
    unique = [thing for thing in scene.things if colours.count(thing.colour) == 1]
    if not unique:
        return None
    thing = pick(unique, generator)
    return f"What is {COLOUR_WORDS[thing.colour][0]} in the image?", f"The {_noun(thing.kind)}."


def _ask_count(scene: Scene, generator: np.random.Generator) -> Question:
    return "How many objects are there?", capitalised(f"{NUMBERS[len(scene.things)]}.")


def _ask_place(scene: Scene, generator: np.random.Generator) -> Question:
    other = pick([name for name in BACKGROUNDS if name != scene.background], generator)
    options = [scene.background, other] if generator.random() < 0.5 else [other, scene.background]
    return f"Is the background {' or '.join(options)}?", capitalised(f"{scene.background}.")


def _ask_relation(scene: Scene, generator: np.random.Generator) -> Question | None:
    """Ask what stands where; only where one thing does, so that one answer is right."""
    lone = {id(thing) for thing in lone_things(scene)}
    found = [relation for relation in relations(scene) if id(scene.things[relation.other]) in lone]
    single = [r for r in found if [(s.name, s.other) for s in found].count((r.name, r.other)) == 1]
    if not single:
        return None
    relation = pick(single, generator)
    other, subject = scene.things[relation.other], scene.things[relation.subject]
    question = f"What is {_RELATION_QUESTIONS[relation.name]} the {_noun(other.kind)}?"
    return question, capitalised(f"{with_article(_noun(subject.kind))}.")


_FORMS: tuple[Callable[[Scene, np.random.Generator], Question | None], ...] = (
    ask_presence,
    _ask_colour,
    _ask_kind,
    _ask_count,
    _ask_place,
    _ask_relation,
)
