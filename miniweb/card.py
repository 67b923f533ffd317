"""The data card: what a built small web holds, measured on its files, beside what was asked for."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imagetext.statistics import length_statistics, vocabulary
from miniweb.alttext import ALT_TYPES, AltTextRates
from miniweb.blind import BlindReader, score_blind
from miniweb.card_page import render_card
from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.claims import CLAIM_KINDS, Checked, check, parse
from miniweb.corpora import (
    RETRIEVAL_SETS,
    Corpus,
    HeldOutSet,
    read_captioner_texts,
    read_corpora,
    read_test_sets,
)
from miniweb.draw import contact_sheet
from miniweb.furniture import SUFFIXES
from miniweb.overlap import Seen
from miniweb.perfect_perceiver import oracle_recall
from miniweb.scene import Scene
from runtime.atomic import write_bytes, write_json, write_text

MAX_CHECKED = 2000
"""Captions of each source whose claims are checked."""
NUM_SAMPLES = 12
_NAMING_TYPES = ("species", "partial")

Facts = dict[str, object]


def write_card(folder: Path, rates: AltTextRates, types_before_filter: Mapping[str, int]) -> tuple[Path, Path, Path]:
    """Measure a built small web and write card.json, card.md and card.png into its folder; return their paths.

    `types_before_filter` counts the alt-text types of the candidates, of which only those kept are among the files.
    """
    corpora, tests = read_corpora(folder), read_test_sets(folder)
    texts = {name: corpus.captions for name, corpus in corpora.items()}
    texts["captioner"] = read_captioner_texts(folder)
    card: Facts = {
        "alt_text": _alt_text_facts(corpora["original"], rates, types_before_filter),
        "sources": _source_facts(corpora, texts, tests),
        "tests": {name: _test_facts(test) for name, test in tests.items()},
        "overlap": _overlap_facts(texts, tests),
        "retrieval": {name: _retrieval_facts(tests[name]) for name in RETRIEVAL_SETS},
        "swap": _swap_facts(texts, tests["swap"]),
        "things": _thing_facts(corpora["original"].scenes),
    }
    paths = folder / "card.json", folder / "card.md", folder / "card.png"
    write_json(paths[0], card)
    write_text(paths[1], render_card(card))
    write_bytes(paths[2], _sample_sheet(corpora["original"], corpora["oracle"]))
    return paths


def _alt_text_facts(web: Corpus, rates: AltTextRates, before: Mapping[str, int]) -> Facts:
    counts = Counter(web.alt_types)
    types = {
        name: {
            "configured": share,
            "before_filter": before.get(name, 0) / max(sum(before.values()), 1),
            "measured": counts[name] / len(web.alt_types),
        }
        for name, share in zip(ALT_TYPES, rates.type_shares, strict=True)
    }
    naming = [text for text, kind in zip(web.captions, web.alt_types) if kind in _NAMING_TYPES]
    parsed = [parse(text) for text in naming[:MAX_CHECKED]]
    claimed = Counter(claim.kind for one in parsed for claim in one.claims)
    told = {
        "colour_share": (rates.colour_share, claimed["colour"] / max(claimed["object"], 1)),
        "place_share": (rates.place_share, claimed["background"] / max(len(parsed), 1)),
        "furniture_share": (rates.furniture_share, float(np.mean([text.endswith(SUFFIXES) for text in naming]))),
    }
    pairs = {name: {"configured": wanted, "measured": found} for name, (wanted, found) in told.items()}
    return {"types": types, "naming": pairs}


def _source_facts(
    corpora: Mapping[str, Corpus], texts: Mapping[str, Sequence[str]], tests: Mapping[str, HeldOutSet]
) -> Facts:
    words = {name: _words(captions) for name, captions in texts.items()}
    union = set().union(*words.values())
    test_words = _words([caption for test in tests.values() for caption in test.captions])
    facts: Facts = {}
    for name, captions in texts.items():
        own: Facts = {
            "num_captions": len(captions),
            "words": _lengths(captions),
            "vocabulary": len(words[name]),
            "vocabulary_share": len(words[name]) / len(union),
            "test_words_known_share": len(words[name] & test_words) / len(test_words),
        }
        facts[name] = own | (_claim_facts(corpora[name].captions, corpora[name].scenes) if name in corpora else {})
    return facts


def _lengths(captions: Sequence[str]) -> dict[str, float]:
    found = length_statistics(captions)
    return {"mean": found.mean, "p50": found.median, "p95": found.percentile_95, "max": found.maximum}


def _words(captions: Sequence[str]) -> set[str]:
    """Return the vocabulary without the numbers of file names."""
    return {word for word in vocabulary(captions) if not any(letter.isdigit() for letter in word)}


def _claim_facts(captions: Sequence[str], scenes: Sequence[Scene]) -> Facts:
    checked = [check(parse(text), scene) for text, scene in zip(captions[:MAX_CHECKED], scenes)]
    return {
        "claims": float(np.mean([one.num_claims for one in checked])),
        "coverage": float(np.mean([one.coverage for one in checked])),
        "unsupported_share": sum(len(one.unsupported) + len(one.void) for one in checked)
        / max(sum(one.num_claims for one in checked), 1),
        "supported_by_kind": _supported_by_kind(checked),
    }


def _supported_by_kind(checked: Sequence[Checked]) -> dict[str, float]:
    """Return how many claims of each kind a caption makes truly, on average."""
    counts = Counter(claim.kind for one in checked for claim in one.supported)
    return {kind: counts[kind] / len(checked) for kind in CLAIM_KINDS}


def _test_facts(test: HeldOutSet) -> Facts:
    return {
        "num_images": len(test.scenes),
        "num_captions": len(test.captions),
        "words": _lengths(test.captions),
    }


def _overlap_facts(texts: Mapping[str, Sequence[str]], tests: Mapping[str, HeldOutSet]) -> Facts:
    facts: Facts = {}
    for source, captions in texts.items():
        seen = Seen(captions)
        facts[source] = {
            name: {"ngrams": seen.ngram_share(test.captions), "captions": seen.caption_share(test.captions)}
            for name, test in tests.items()
        }
    return facts


def _retrieval_facts(test: HeldOutSet) -> Facts:
    recall = oracle_recall(test)
    return {"text_to_image": recall.text_to_image, "image_to_text": recall.image_to_text}


def _swap_facts(texts: Mapping[str, Sequence[str]], swap: HeldOutSet) -> Facts:
    """Score one who sees nothing and has read the web, a perfect captioner's texts and the foundation's."""
    reader = BlindReader(caption for name in ("original", "oracle", "foundation") for caption in texts[name])
    score = score_blind(reader, swap.texts)
    return {"blind_accuracy": score.accuracy, "num_pairs": score.num_pairs, "half_width": score.half_width}


def _thing_facts(scenes: Sequence[Scene]) -> Facts:
    things = [thing for scene in scenes for thing in scene.things]
    numbers = Counter(len(scene.things) for scene in scenes)
    known = sum(SPECIES_BY_NAME[thing.species].known_to_captioner for thing in things)
    return {
        "num_images": len(scenes),
        "num_things_shares": {str(number): numbers[number] / len(scenes) for number in sorted(numbers)},
        "known_species_share": known / len(things),
        "colour_shares": _shares(thing.colour for thing in things),
        "background_shares": _shares(scene.background for scene in scenes),
        "kind_shares": _shares(thing.kind for thing in things),
    }


def _shares(values: object) -> dict[str, float]:
    counts = Counter(values)  # type: ignore[call-overload]
    return {name: counts[name] / counts.total() for name in sorted(counts)}


def _sample_sheet(web: Corpus, oracle: Corpus) -> bytes:
    """Draw twelve web scenes, alt-text of every type first, each with its alt-text and the truth."""
    chosen = choose_samples(web.alt_types)
    captions = [f"[{web.alt_types[i]}] {web.captions[i]}\n= {oracle.captions[i]}" for i in chosen]
    sheet = contact_sheet([web.scenes[i] for i in chosen], captions)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def choose_samples(alt_types: Sequence[str], num_samples: int = NUM_SAMPLES) -> list[int]:
    """Return positions of samples: the first of each type, then the second of each, and so on."""
    by_type = {name: [i for i, kind in enumerate(alt_types) if kind == name] for name in ALT_TYPES}
    rounds = max(map(len, by_type.values()), default=0)
    in_turn = [found[turn] for turn in range(rounds) for found in by_type.values() if turn < len(found)]
    return in_turn[:num_samples]
