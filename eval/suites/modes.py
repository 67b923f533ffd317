"""The `modes` suite: what knowing the alt-text brings a captioner, and what it costs, beside simpler ways to use it."""

from collections.abc import Iterator, Mapping, Sequence

from eval.config import EvalConfig
from eval.modes import ALT_TEXT, MODES, MODES_RECIPE, PAPER, SPLIT, metric_name
from eval.outcomes import Ratio, ratio
from eval.suite import Measurement, measure
from eval.suites.captions import claim_metrics, recaptions_of
from eval.truth import TrueSample, read_true_samples
from imagetext.alt_text_prompts import ALT_TEXT_MARK, clean_alt_text
from imagetext.caption_flags.names import ALT_TEXT_COPIED, PROMPT_ECHO
from imagetext.conversations import PAPER_PROMPT
from imagetext.mix import CONCAT, CaptionMix, CaptionMixConfig
from imagetext.samples import ORIGINAL
from miniweb.catalogue import SPECIES_BY_NAME
from miniweb.claims import parse
from miniweb.grammar import KNOWN_NAMES
from miniweb.hearsay import false_names, names_in, true_names
from recaption.leaks import find_leaks
from recaption.named_prompts import resolve

CLAIM_METRICS = ("words", "coverage", "unsupported", "coverage_species", "unsupported_species")
"""What is taken over from the measures of any caption."""

Captions = Mapping[str, str]
"""By key; empty where there is none."""


def measure_modes(config: EvalConfig) -> Iterator[Measurement]:
    """Yield claims, names kept and falsehoods, copies and echoes of every source on held-out pictures of the web."""
    samples = read_true_samples(config.miniweb / SPLIT, config.captions.max_heldout_samples)
    for source, captions in mode_sources(config, samples).items():
        protocol = f"{source} captions of {SPLIT}, as first said; truth by the scene graph, names by their words"
        metrics = {
            **{name: one for name, one in claim_metrics(samples, captions).items() if name in CLAIM_METRICS},
            **name_metrics(samples, captions),
            **leak_metrics(samples, captions, _asked(source)),
        }
        for metric, outcome in metrics.items():
            yield measure(metric_name(source, metric), outcome, protocol, config.bootstrap_replicates)


def mode_sources(config: EvalConfig, samples: Sequence[TrueSample]) -> Mapping[str, Captions]:
    """Gather all captions by source and key."""
    paper = recaptions_of(config, SPLIT, samples)
    originals = {each.key: each.original for each in samples}
    modes = {name: recaptions_of(config, MODES_RECIPE, samples, column=mode.column) for name, mode in MODES.items()}
    return {ALT_TEXT: originals, PAPER: paper, CONCAT: concatenated(originals, paper), **modes}


def concatenated(originals: Captions, recaptions: Captions) -> Captions:
    """Set the alt-text before the caption, as CLIP's recipe `concat` does: the rule that asks no model."""
    mix = CaptionMix(CaptionMixConfig(original_share=0.0, others={CONCAT: 1.0}), seed=0)
    pairs = {key: {ORIGINAL: originals[key], "recaption": recaptions[key]} for key in originals}
    return {key: mix.choose(pair, key, 0, 0).text for key, pair in pairs.items()}


def name_metrics(samples: Sequence[TrueSample], captions: Captions) -> Mapping[str, Ratio]:
    """Measure the share of the alt-text's names that captions have: of true ones, told of a thing of their kind, and
    of false ones, told at all. Rare names are those that the captioner never names by itself: only the web tells them.
    """
    points: dict[str, dict[str, tuple[float, float]]] = {
        "names_kept": {}, "rare_names_kept": {}, "known_names_kept": {}, "false_names_repeated": {},
    }  # fmt: skip
    for each in samples:
        caption = captions[each.key]
        told = _names_told(caption)
        true, false = set(true_names(each.original, each.scene)), set(false_names(each.original, each.scene))
        points["names_kept"][each.key] = _share(told, true)
        points["rare_names_kept"][each.key] = _share(told, true - KNOWN_NAMES)
        points["known_names_kept"][each.key] = _share(told, true & KNOWN_NAMES)
        points["false_names_repeated"][each.key] = _share(set(names_in(caption)), false)
    return _measured(points)


def leak_metrics(samples: Sequence[TrueSample], captions: Captions, asked: str) -> Mapping[str, Ratio]:
    """Measure the share of captions that copy the alt-text (of those that have one) and that echo what was asked.

    Of a source that is told no alt-text, what is found as a copy is what two texts on one picture share by chance.
    """
    points: dict[str, dict[str, tuple[float, float]]] = {"copied": {}, "echoed": {}}
    for each in samples:
        alt_text = clean_alt_text(each.original)
        found = find_leaks(captions[each.key], prompt=asked, alt_text=alt_text)
        points["copied"][each.key] = (float(ALT_TEXT_COPIED in found), float(alt_text is not None))
        points["echoed"][each.key] = (float(PROMPT_ECHO in found), 1.0)
    return _measured(points)


def _asked(source: str) -> str:
    """Return the words that a source's captions answer, without the alt-text."""
    return resolve(MODES[source].prompt).text.replace(ALT_TEXT_MARK, "") if source in MODES else PAPER_PROMPT


def _names_told(caption: str) -> set[str]:
    """Return the names that a caption gives to things of their kind."""
    parsed = parse(caption)
    named = (claim for claim in parsed.claims if claim.kind == "species")
    return {claim.value for claim in named if parsed.mentions[claim.subject].kind == SPECIES_BY_NAME[claim.value].kind}


def _share(told: set[str], wanted: set[str]) -> tuple[float, float]:
    return float(len(told & wanted)), float(len(wanted))


def _measured(points: Mapping[str, Mapping[str, tuple[float, float]]]) -> Mapping[str, Ratio]:
    outcomes = {name: ratio(by_key) for name, by_key in points.items()}
    return {name: outcome for name, outcome in outcomes.items() if outcome.count}
