"""The `judges` suite: train two judges on true renders, and publish how far each can be trusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.config import EvalConfig
from eval.judge_files import comes_from, load_judge, save_judge
from eval.judge_network import IMAGE_SIZE_PX, JUDGE_NAMES, JudgeName
from eval.judge_training import train_judge
from eval.judging import claims_followed, claims_followed_of_kind, score_prompts, whole_prompts
from eval.outcomes import Ratio, ratio
from eval.perception import perceive
from eval.scene_edits import EDITS
from eval.suite import Measurement, data_fingerprint, measure
from eval.truth import TrueSample, pixels_of, read_true_samples
from miniweb import grammar
from miniweb.claims import CLAIM_KINDS, Claim, Parsed, Perceived, check, parse
from miniweb.scene import Scene
from runtime import seeds


def measure_judges(config: EvalConfig) -> Iterator[Measurement]:
    """Train both judges, then yield ceiling, false accepts and agreement on renders that neither saw."""
    for name in JUDGE_NAMES:
        _train(config, name)
    samples = read_true_samples(config.miniweb / "judges" / "test", config.judge.max_test_samples)
    images = np.stack([pixels_of(sample.image, IMAGE_SIZE_PX) for sample in samples])
    seen = {name: perceive(load_judge(config.output_dir, name), images)[0] for name in JUDGE_NAMES}
    questions = TrueAndFalse(samples)
    protocol = f"true renders at {IMAGE_SIZE_PX} px; claims of full descriptions, all species named"
    for name in JUDGE_NAMES:
        for metric, outcome in {**ceiling(questions, seen[name]), **false_accepts(questions, seen[name])}.items():
            yield measure(f"judges_test/{name}_{metric}", outcome, protocol, config.bootstrap_replicates)
    agreement = agreement_of(questions, seen["A"], seen["B"])
    yield measure("judges_test/agreement", agreement, f"{protocol}, true and false", config.bootstrap_replicates)


@dataclass(frozen=True)
class Asked:
    """A description's claims, and which of them are false of the render that is asked about."""

    parsed: Parsed
    false: frozenset[Claim]


class TrueAndFalse:
    """Claims about test renders: those of a true description, and those that a single edit makes false."""

    def __init__(self, samples: Sequence[TrueSample]) -> None:
        """Write every description from the scene, or from the edited scene."""
        self.keys = [sample.key for sample in samples]
        self.true = [parse(_describe(sample.scene, _generator(sample, "true"))) for sample in samples]
        self.false: dict[str, list[Asked | None]] = {
            name: [_ask_falsely(sample, name) for sample in samples] for name in EDITS
        }


def ceiling(questions: TrueAndFalse, seen: Sequence[Perceived]) -> Mapping[str, Ratio]:
    """Measure how much of what is true the judge accepts: the most a perfect generator could score."""
    scores = score_prompts(questions.keys, questions.true, seen)
    by_kind = {f"ceiling_{kind}": claims_followed_of_kind(scores, kind) for kind in CLAIM_KINDS}
    whole = {"ceiling_claims": claims_followed(scores), "ceiling_whole": whole_prompts(scores)}
    return {**whole, **{name: outcome for name, outcome in by_kind.items() if outcome.count}}


def false_accepts(questions: TrueAndFalse, seen: Sequence[Perceived]) -> Mapping[str, Ratio]:
    """Measure how many claims that an edit made false the judge accepts."""
    by_edit = {
        f"false_accept_{name}": ratio(
            {key: _accepted(asked, what) for key, asked, what in zip(questions.keys, edited, seen, strict=True)}
        )
        for name, edited in questions.false.items()
    }
    outcomes = list(by_edit.values())
    scores = np.sum([outcome.scores for outcome in outcomes], axis=0)
    weights = np.sum([outcome.weights for outcome in outcomes], axis=0)
    return {"false_accept": Ratio(outcomes[0].ids, scores, weights), **by_edit}


def agreement_of(questions: TrueAndFalse, first: Sequence[Perceived], second: Sequence[Perceived]) -> Ratio:
    """Measure on what share of claims, true and false, two judges decide alike."""
    votes: dict[str, tuple[float, float]] = {}
    for index, key in enumerate(questions.keys):
        edited = [asked[index] for asked in questions.false.values()]
        parsed = [questions.true[index], *(asked.parsed for asked in edited if asked is not None)]
        alike = [
            (claim in by_first) == (claim in by_second)
            for each in parsed
            for by_first, by_second in [(_held(each, first[index]), _held(each, second[index]))]
            for claim in each.claims
        ]
        votes[key] = (float(sum(alike)), float(len(alike)))
    return ratio(votes)


def _generator(sample: TrueSample, purpose: str) -> np.random.Generator:
    return seeds.numpy_generator("judges", purpose, sample.key)


def _ask_falsely(sample: TrueSample, edit: str) -> Asked | None:
    generator = _generator(sample, edit)
    edited = EDITS[edit](sample.scene, generator)
    if edited is None:
        return None
    parsed = parse(_describe(edited, generator))
    checked = check(parsed, sample.scene)
    return Asked(parsed, frozenset(checked.unsupported))


def _describe(scene: Scene, generator: np.random.Generator) -> str:
    """Tell everything about a scene, so that claims of every kind are asked about."""
    return grammar.describe(scene, generator, grammar.ALL_NAMES)


def _held(parsed: Parsed, seen: Perceived) -> frozenset[Claim]:
    return frozenset(check(parsed, seen).supported)


def _accepted(asked: Asked | None, seen: Perceived) -> tuple[float, float]:
    if asked is None:
        return 0.0, 0.0
    return float(len(asked.false & _held(asked.parsed, seen))), float(len(asked.false))


def _train(config: EvalConfig, name: JudgeName) -> None:
    origin = f"{data_fingerprint(config.miniweb)} {config.judge}"
    if comes_from(config.output_dir, name, origin):
        return
    samples = read_true_samples(config.miniweb / "judges" / "train", config.judge.max_train_samples)
    half = samples[JUDGE_NAMES.index(name) :: len(JUDGE_NAMES)]
    images = np.stack([pixels_of(sample.image, IMAGE_SIZE_PX) for sample in half])
    judge = train_judge(name, images, [sample.scene for sample in half], config.judge)
    save_judge(judge, config.output_dir, name, origin)
