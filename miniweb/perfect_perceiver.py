"""How well retrieval can be done at all: by one who sees every scene as it is and understands every caption."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from miniweb.claims import EVERYTHING, Parsed, check, parse
from miniweb.corpora import HeldOutSet
from miniweb.scene import Scene

Feature = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OracleRecall:
    """Recall at one of a perfect perceiver, ties broken at random: the ceiling of a retrieval set."""

    text_to_image: float
    image_to_text: float


def oracle_recall(test: HeldOutSet) -> OracleRecall:
    """Return the expected R@1 of one who knows which captions are true of which scenes, and nothing else.

    Of a caption's true scenes all are as good. Of an image's true captions those that claim most are best: a vague one
    fits many images. A caption that is not true of its own image counts as missed.
    """
    parsed = [parse(caption) for caption in test.captions]
    owners = [image for image, texts in enumerate(test.texts) for _ in texts]
    fitting = true_scenes(parsed, test.scenes)
    to_image = [1 / len(scenes) if owner in scenes else 0.0 for owner, scenes in zip(owners, fitting)]
    captions_of: dict[int, list[int]] = defaultdict(list)
    for caption, scenes in enumerate(fitting):
        for scene in scenes:
            captions_of[scene].append(caption)
    to_text = [_share_of_own(image, captions_of[image], owners, parsed) for image in range(len(test.scenes))]
    return OracleRecall(
        text_to_image=sum(to_image) / len(to_image),
        image_to_text=sum(to_text) / len(to_text),
    )


def true_scenes(parsed: Sequence[Parsed], scenes: Sequence[Scene]) -> list[list[int]]:
    """Return, for each caption, the scenes of which all its claims hold."""
    showing: dict[Feature, set[int]] = defaultdict(set)
    for index, scene in enumerate(scenes):
        for feature in _scene_features(scene):
            showing[feature].add(index)
    everything = set(range(len(scenes)))
    found = []
    for caption in parsed:
        candidates = everything.intersection(*[showing[feature] for feature in _claimed_features(caption)])
        found.append([index for index in sorted(candidates) if _all_hold(caption, scenes[index])])
    return found


def _share_of_own(image: int, fitting: Sequence[int], owners: Sequence[int], parsed: Sequence[Parsed]) -> float:
    most = max((len(parsed[caption].claims) for caption in fitting), default=0)
    best = [caption for caption in fitting if len(parsed[caption].claims) == most]
    return sum(owners[caption] == image for caption in best) / max(len(best), 1)


def _all_hold(parsed: Parsed, scene: Scene) -> bool:
    return len(check(parsed, scene).supported) == len(parsed.claims)


def _scene_features(scene: Scene) -> set[Feature]:
    features: set[Feature] = {("background", scene.background), ("count", str(len(scene.things)))}
    for thing in scene.things:
        features.add(("object", thing.kind))
        features |= {(name, thing.kind, getattr(thing, name)) for name in ("colour", "size", "species")}
    return features


def _claimed_features(parsed: Parsed) -> list[Feature]:
    """Return what a scene must show for the claims to hold: necessary, quick to look up, not sufficient."""
    features: list[Feature] = []
    for claim in parsed.claims:
        if claim.subject == EVERYTHING or claim.kind == "object":
            features.append((claim.kind, claim.value))
        elif claim.kind in ("colour", "size", "species"):
            features.append((claim.kind, parsed.mentions[claim.subject].kind, claim.value))
    return features
