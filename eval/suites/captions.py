"""The `captions` suite: how long captions are, how rich their words, and how much of what they say is true."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from eval.config import EvalConfig
from eval.outcomes import Ratio, mean_of, ratio
from eval.suite import Measurement, measure
from eval.truth import TrueSample, read_true_samples
from imagetext.sidecars import RECAPTION_COLUMN, read_sidecar
from imagetext.vocabulary import vocabulary_shares
from miniweb import grammar
from miniweb.claims import CLAIM_KINDS, COVERED_KINDS, Checked, check, parse
from runtime import seeds
from runtime.errors import UserError

VOCABULARY_REPLICATES = 100
HELDOUT_SPLITS = ("web_heldout", "captioner_heldout")


def measure_captions(config: EvalConfig) -> Iterator[Measurement]:
    """Yield statistics on the web split, then claims on both held-out domains."""
    yield from _statistics(config)
    for split in HELDOUT_SPLITS:
        samples = read_true_samples(config.miniweb / split, config.captions.max_heldout_samples)
        for source, captions in heldout_sources(config, split, samples).items():
            protocol = f"{source} captions of {split}; claims parsed and checked against the scene graph"
            for metric, outcome in claim_metrics(samples, captions).items():
                yield measure(f"{split}/{source}_{metric}", outcome, protocol, config.bootstrap_replicates)


def heldout_sources(config: EvalConfig, split: str, samples: Sequence[TrueSample]) -> Mapping[str, Mapping[str, str]]:
    """Gather captions by source and key: originals (web only), the captioner's, and the oracle's from the graph."""
    sources = {
        "recaption": recaptions_of(config, split, samples),
        "oracle": {each.key: grammar.describe(each.scene, _generator(split, each.key)) for each in samples},
    }
    # The captioner's own domain has no alt-text; its .txt holds the oracle's words.
    if split == "web_heldout":
        sources["original"] = {each.key: each.original for each in samples}
    return sources


def recaptions_of(
    config: EvalConfig, split: str, samples: Sequence[TrueSample], column: str = RECAPTION_COLUMN
) -> dict[str, str]:
    """Read the captioner's captions of a split by key; a failed row counts as an empty caption."""
    folder = config.recaptions.get(split)
    if folder is None:
        raise UserError("no recaptions", where=f"recaptions.{split}", fix=f"Pass --recaptions.{split} SIDECAR_FOLDER")
    captions: dict[str, str] = {}
    for shard in dict.fromkeys(sample.shard for sample in samples):
        captions.update({key: row.caption or "" for key, row in read_sidecar(folder, shard, column).items()})
    missing = [sample.key for sample in samples if sample.key not in captions]
    if missing:
        raise UserError("samples without a row", where=str(folder), found=missing[:3], wanted="one row per sample")
    return {sample.key: captions[sample.key] for sample in samples}


def claim_metrics(samples: Sequence[TrueSample], captions: Mapping[str, str]) -> Mapping[str, Ratio]:
    """Measure coverage of the scene's facts and the unsupported share of claims, in all and by kind."""
    checked = {each.key: check(parse(captions[each.key]), each.scene) for each in samples}
    metrics = {
        "coverage": ratio({key: _covered(found, COVERED_KINDS) for key, found in checked.items()}),
        "unsupported": ratio({key: _unsupported(found, CLAIM_KINDS) for key, found in checked.items()}),
        "claims": mean_of({key: float(found.num_claims) for key, found in checked.items()}),
        "words": mean_of({each.key: float(len(captions[each.key].split())) for each in samples}),
        "unparsed": ratio({key: _unparsed(captions[key], found) for key, found in checked.items()}),
    }
    for kind in CLAIM_KINDS:
        metrics[f"coverage_{kind}"] = ratio({key: _covered(found, (kind,)) for key, found in checked.items()})
        metrics[f"unsupported_{kind}"] = ratio({key: _unsupported(found, (kind,)) for key, found in checked.items()})
    return {name: outcome for name, outcome in metrics.items() if outcome.count}


def _statistics(config: EvalConfig) -> Iterator[Measurement]:
    samples = read_true_samples(config.miniweb / "web", config.captions.max_web_samples)
    sources = {
        "original": {each.key: each.original for each in samples},
        "recaption": recaptions_of(config, "web", samples),
    }
    protocol = "web captions; words are what white space separates"
    for source, captions in sources.items():
        words = mean_of({key: float(len(text.split())) for key, text in captions.items()})
        yield measure(f"web/{source}_words", words, protocol, config.bootstrap_replicates)
    texts = [list(captions.values()) for captions in sources.values()]
    shares = vocabulary_shares(texts[0], texts[1], VOCABULARY_REPLICATES)
    for source, interval in zip(sources, shares, strict=True):
        yield Measurement(
            metric=f"web/{source}_vocabulary_share",
            protocol="web captions; distinct lower-case words of letters, of those in either source",
            count=len(samples),
            interval=interval,
        )


def _generator(split: str, key: str) -> np.random.Generator:
    return seeds.numpy_generator("oracle caption", split, key)


def _covered(checked: Checked, kinds: Sequence[str]) -> tuple[float, float]:
    total = sum(checked.num_facts.get(kind, 0) for kind in kinds)  # type: ignore[call-overload]
    return float(total - sum(fact.kind in kinds for fact in checked.missed)), float(total)


def _unsupported(checked: Checked, kinds: Sequence[str]) -> tuple[float, float]:
    wrong = sum(claim.kind in kinds for claim in (*checked.unsupported, *checked.void))
    right = sum(claim.kind in kinds for claim in checked.supported)
    return float(wrong), float(wrong + right)


def _unparsed(caption: str, checked: Checked) -> tuple[float, float]:
    return float(checked.num_unparsed_sentences), float(parse(caption).num_sentences)
