"""Check a caption's claims against a scene: which hold, which don't, and what was never said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.optimize import linear_sum_assignment

from miniweb.claim_types import CLAIM_KINDS, EVERYTHING, Claim, ClaimKind, Parsed
from miniweb.scene import RELATION_GAP, Scene, Thing

COVERED_KINDS: tuple[ClaimKind, ...] = ("object", "colour", "background", "relation")
"""The facts whose telling is a caption's coverage."""
MAX_MATCHINGS_TRIED = 2000
"""Beyond so many ways to match mentions with things (a caption that repeats itself), relations break no ties."""

Matching = Mapping[int, tuple[int, ...]]
"""Mention number -> numbers of the things that it means."""


@dataclass(frozen=True)
class Perceived:
    """What a judge sees in a generated image: like a scene, but of any number of things, and maybe no background."""

    background: str | None
    things: tuple[Thing, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A caption's claims, sorted by truth, and the scene's facts that it did not tell.

    `void` holds what is claimed about objects that aren't there: neither right nor wrong by itself, as the object is
    wrong. Of the missed relations, only as many are facts as it takes to tie the scene's groups of things together.
    """

    supported: tuple[Claim, ...]
    unsupported: tuple[Claim, ...]
    void: tuple[Claim, ...]
    missed: tuple[Claim, ...]
    num_facts: Mapping[ClaimKind, int]
    num_extra_things: int
    """Things in the scene that no mention means."""
    num_unparsed_sentences: int

    @property
    def num_claims(self) -> int:
        """All claims made."""
        return len(self.supported) + len(self.unsupported) + len(self.void)

    @property
    def unsupported_share(self) -> float:
        """Share of all claims that don't hold, void ones included; 0 for a caption without claims."""
        return (len(self.unsupported) + len(self.void)) / max(self.num_claims, 1)

    @property
    def coverage(self) -> float:
        """Share of the scene's facts (COVERED_KINDS) that were told truly."""
        return self.coverage_of(COVERED_KINDS)

    def coverage_of(self, kinds: Sequence[ClaimKind]) -> float:
        """Share of the scene's facts of these kinds that were told truly; 1 where there are none."""
        num_facts = sum(self.num_facts.get(kind, 0) for kind in kinds)
        num_missed = sum(claim.kind in kinds for claim in self.missed)
        return 1 - num_missed / num_facts if num_facts else 1.0

    @property
    def followed_share(self) -> float:
        """Score of a generated image for its prompt: claims that hold, of all claims and all extra things."""
        return len(self.supported) / max(self.num_claims + self.num_extra_things, 1)


def check(parsed: Parsed, scene: Scene | Perceived, kinds: Sequence[ClaimKind] = CLAIM_KINDS) -> Checked:
    """Check claims of the given kinds against a scene (the truth, or what a judge perceives in an image).

    Mentions are matched with things so that as many claims as possible hold.
    """
    claims = [claim for claim in parsed.claims if claim.kind in kinds]
    matching = max(_matchings(parsed, scene.things), key=lambda found: _num_supported(claims, found, parsed, scene))
    verdicts = [_verdict(claim, matching, parsed, scene) for claim in claims]
    supported = tuple(claim for claim, verdict in zip(claims, verdicts) if verdict is True)
    facts, missed = _facts_and_missed(supported, matching, scene)
    return Checked(
        supported=supported,
        unsupported=tuple(claim for claim, verdict in zip(claims, verdicts) if verdict is False),
        void=tuple(claim for claim, verdict in zip(claims, verdicts) if verdict is None),
        missed=tuple(fact for fact in missed if fact.kind in kinds),
        num_facts={kind: facts.count(kind) for kind in kinds},
        num_extra_things=len(scene.things) - len({thing for things in matching.values() for thing in things}),
        num_unparsed_sentences=parsed.num_unparsed_sentences,
    )


def holds(first: Thing, name: str, second: Thing) -> bool:
    """Say whether a relation holds between two things (see `scene.relations`)."""
    across, down = second.x - first.x, second.y - first.y
    gap = {"left of": across, "right of": -across, "above": down, "below": -down}[name]
    return gap >= RELATION_GAP


def _slots(parsed: Parsed, kind: str) -> list[int]:
    return [
        number for number, mention in enumerate(parsed.mentions) if mention.kind == kind for _ in range(mention.many)
    ]


def _matchings(parsed: Parsed, things: Sequence[Thing]) -> Iterator[Matching]:
    """Yield every way to let mentions mean things of their kind, as many as there are of both."""
    kinds = sorted({thing.kind for thing in things} & {mention.kind for mention in parsed.mentions})
    per_kind: list[tuple[list[int], list[int]]] = [
        (_slots(parsed, kind), [index for index, thing in enumerate(things) if thing.kind == kind]) for kind in kinds
    ]
    num_ways = np.prod([float(_num_injections(len(slots), len(found))) for slots, found in per_kind])
    if num_ways > MAX_MATCHINGS_TRIED:
        yield _merged([_best_alone(parsed, things, slots, found) for slots, found in per_kind])
        return
    for ways in product(*[_injections(slots, found) for slots, found in per_kind]):
        yield _merged(ways)


def _num_injections(num_slots: int, num_things: int) -> int:
    more, fewer = max(num_slots, num_things), min(num_slots, num_things)
    return int(np.prod([more - i for i in range(fewer)], dtype=np.float64))


def _injections(slots: list[int], found: list[int]) -> Iterator[list[tuple[int, int]]]:
    if len(slots) >= len(found):
        for chosen in permutations(slots, len(found)):
            yield list(zip(chosen, found))
    else:
        for things in permutations(found, len(slots)):
            yield list(zip(slots, things))


def _best_alone(parsed: Parsed, things: Sequence[Thing], slots: list[int], found: list[int]) -> list[tuple[int, int]]:
    """Return the pairs under which most properties hold, by the assignment method."""
    said = [claim for claim in parsed.claims if claim.kind in ("colour", "size", "species")]
    gain = np.array(
        [
            [sum(claim.subject == slot and _has(things[thing], claim) for claim in said) for thing in found]
            for slot in slots
        ]
    )
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return [(slots[row], found[column]) for row, column in zip(rows, columns)]


def _merged(ways: Sequence[Sequence[tuple[int, int]]]) -> Matching:
    matching: dict[int, tuple[int, ...]] = {}
    for pairs in ways:
        for mention, thing in pairs:
            matching[mention] = (*matching.get(mention, ()), thing)
    return matching


def _has(thing: Thing, claim: Claim) -> bool:
    return getattr(thing, claim.kind) == claim.value


def _num_supported(claims: Sequence[Claim], matching: Matching, parsed: Parsed, scene: Scene | Perceived) -> int:
    return sum(_verdict(claim, matching, parsed, scene) is True for claim in claims)


def _verdict(claim: Claim, matching: Matching, parsed: Parsed, scene: Scene | Perceived) -> bool | None:
    """Return True for supported, False for unsupported, None for void."""
    if claim.kind == "background":
        return claim.value == scene.background
    if claim.subject == EVERYTHING:
        return claim.value == str(len(scene.things))
    if claim.kind == "object":
        return claim.subject in matching
    if claim.subject not in matching or (claim.kind == "relation" and claim.other not in matching):
        return None
    meant = [scene.things[index] for index in matching[claim.subject]]
    if claim.kind == "count":
        return _counts(claim, parsed, scene.things)
    if claim.kind == "relation":
        others = [scene.things[index] for index in matching[claim.other]]
        return all(holds(first, claim.value, second) for first in meant for second in others)
    return all(_has(thing, claim) for thing in meant)


def _counts(claim: Claim, parsed: Parsed, things: Sequence[Thing]) -> bool:
    """Two red houses: two houses in all, or two that are red."""
    alike = [thing for thing in things if thing.kind == parsed.mentions[claim.subject].kind]
    said = [
        other
        for other in parsed.claims
        if other.subject == claim.subject and other.kind in ("colour", "size", "species")
    ]
    fully_alike = [thing for thing in alike if all(_has(thing, other) for other in said)]
    return int(claim.value) in (len(alike), len(fully_alike))


def _facts_and_missed(
    supported: Sequence[Claim], matching: Matching, scene: Scene | Perceived
) -> tuple[list[ClaimKind], list[Claim]]:
    """Return the kinds of all facts, and the facts that no supported claim tells."""
    told = {
        (claim.kind, thing) for claim in supported if claim.subject != EVERYTHING for thing in matching[claim.subject]
    }
    facts = [
        Claim(kind, getattr(thing, "kind" if kind == "object" else kind), index)
        for index, thing in enumerate(scene.things)
        for kind in _PROPERTIES
    ]
    missed = [fact for fact in facts if (fact.kind, fact.subject) not in told]
    if scene.background is not None:
        facts.append(Claim("background", scene.background))
        missed += [facts[-1]] * (not any(claim.kind == "background" for claim in supported))
    ties, untold = _relation_facts(supported, matching, scene.things)
    return [fact.kind for fact in facts + ties], missed + untold


_PROPERTIES: tuple[ClaimKind, ...] = ("object", "colour", "size", "species")


def _relation_facts(
    supported: Sequence[Claim], matching: Matching, things: Sequence[Thing]
) -> tuple[list[Claim], list[Claim]]:
    """Return the relations that tie groups of equal things together, and those still needed after what was told.

    As few as do it: one less than there are groups, where every group is related to some other.
    """
    looks = [(thing.kind, thing.species, thing.colour, thing.size) for thing in things]
    group_of = [looks.index(look) for look in looks]
    possible = _shared_by_groups(things, group_of)
    facts = _joining(possible, list(group_of))
    roots = list(group_of)
    for claim in supported:
        if claim.kind == "relation":
            _join(roots, group_of[matching[claim.subject][0]], group_of[matching[claim.other][0]])
    return facts, _joining(possible, roots)


def _shared_by_groups(things: Sequence[Thing], group_of: Sequence[int]) -> list[Claim]:
    members = {group: [index for index, of in enumerate(group_of) if of == group] for group in dict.fromkeys(group_of)}
    return [
        Claim("relation", name, first, second)
        for first in members
        for second in members
        if first < second
        for name in ("left of", "right of", "above", "below")
        if all(holds(things[i], name, things[j]) for i in members[first] for j in members[second])
    ]


def _joining(possible: Sequence[Claim], roots: list[int]) -> list[Claim]:
    """Return those of the relations that join what the roots still keep apart (a spanning forest)."""
    return [claim for claim in possible if _join(roots, claim.subject, claim.other)]


def _join(roots: list[int], first: int, second: int) -> bool:
    one, two = roots[first], roots[second]
    if one == two:
        return False
    for index, root in enumerate(roots):
        if root == two:
            roots[index] = one
    return True
