"""What a finished build says of itself: counts, fingerprint, and that its splits are disjoint."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

from miniweb.config import MiniwebConfig
from miniweb.holdouts import held_out
from miniweb.splits import SPLITS, TRAINING_FAMILIES, Family
from runtime.config import to_dict

Mark = Mapping[str, object]

_FAMILY_OF_PART: Mapping[str, Family] = {
    **{name: split.family for name, split in SPLITS.items()},
    "captioner_images": "captioner",
}


def summarise(config: MiniwebConfig, marks: Iterable[Mark]) -> dict[str, object]:
    """Return the manifest of a build from its pieces' marks; refuses a build whose splits share a scene."""
    marks = list(marks)
    digests = {path: digest for mark in marks for path, digest in _mapping(mark["files"]).items()}
    return {
        "seed": config.seed,
        "fingerprint": _fingerprint(digests),
        "config": identity(config),
        "num_scenes": _num_scenes(marks),
        "num_files": len(digests),
        "disjoint": check_disjoint(marks),
        "held_out": {
            "kind_colours": [list(entry) for entry in held_out().kind_colours],
            "kind_relations": [list(entry) for entry in held_out().kind_relations],
        },
        "web": _added_up([_mapping(mark["facts"]) for mark in marks if mark["part"] == "web"]),
    }


def identity(config: MiniwebConfig) -> dict[str, object]:
    """Return what a build is a function of."""
    return {name: value for name, value in to_dict(config).items() if name not in ("output_dir", "processes")}


def types_before_filter(marks: Iterable[Mark]) -> dict[str, int]:
    """Count the alt-text types of the web's candidates, of which the filter kept a part."""
    counts: Counter[str] = Counter()
    for mark in marks:
        if mark["part"] == "web":
            counts.update(_mapping(_mapping(mark["facts"])["alt_types_before_filter"]))
    return dict(counts)


def check_disjoint(marks: Iterable[Mark]) -> dict[str, object]:
    """Count the scenes of every family, and those shared between two (none, or the build is broken)."""
    scenes: dict[Family, set[str]] = {}
    for mark in marks:
        part = str(mark["part"]).removeprefix("benchmark_")
        part = "prompts" if part == "prompts_raw" else part.removeprefix("prompts_")
        signatures = mark["signatures"]
        assert isinstance(signatures, list)
        if signatures:
            scenes.setdefault(_FAMILY_OF_PART[part], set()).update(signatures)
    shared = {f"{a} and {b}": len(scenes[a] & scenes[b]) for a, b in combinations(sorted(scenes), 2)}
    if any(shared.values()):
        raise RuntimeError(f"splits share scenes: {shared}")
    return {
        "distinct_scenes": {family: len(found) for family, found in sorted(scenes.items())},
        "shared_scenes": shared,
        "training_families": list(TRAINING_FAMILIES),
    }


def _num_scenes(marks: list[Mark]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for mark in marks:
        number = mark["num_scenes"]
        assert isinstance(number, int)
        counted[str(mark["part"])] += number
    return {part: number for part, number in sorted(counted.items()) if number}


def _fingerprint(digests: Mapping[str, object]) -> str:
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _added_up(records: list[Mapping[str, object]]) -> dict[str, object]:
    total: dict[str, object] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, Mapping):
                counter = Counter(total.get(name, {}))  # type: ignore[call-overload]
                counter.update(value)
                total[name] = dict(sorted(counter.items()))
            else:
                total[name] = total.get(name, 0) + value  # type: ignore[operator]
    return total


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value
