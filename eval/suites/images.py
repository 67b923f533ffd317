"""The `images` suite: draw pictures from prompts, and judge how far each follows its prompt."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from dit_train.sampler import Sampler, SamplingConfig
from eval.config import EvalConfig
from eval.embeddings import Embeddings
from eval.judge_network import Judge, JudgeName
from eval.judging import (
    PromptScore,
    claims_followed,
    claims_followed_of_kind,
    extra_things,
    score_prompts,
    whole_prompts,
)
from eval.outcomes import Cloud, Outcome, mean_of
from eval.perception import perceive
from eval.pictures import encode_png, save_pictures
from eval.prompts import PROMPT_SETS, Prompt, development_prompts, read_prompts
from eval.suite import Measurement, measure
from imagetext.transforms import resize_center_crop
from miniweb.claims import CLAIM_KINDS, parse
from miniweb.draw import render
from runtime import seeds
from runtime.intervals import Interval

T = TypeVar("T")
Pictures = UInt8[np.ndarray, "picture channel height width"]
NOISE_SEED = 0
"""All arms draw a prompt's picture from the same noise."""
RENDER_SIZE_PX = 128
FRECHET_SETS = ("raw", "recap")


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What pictures are measured with."""

    judges: Mapping[JudgeName, Judge]
    """By name; A gives the scores, B checks them."""
    judge_sha8: Mapping[JudgeName, str]
    scorers: Mapping[str, Embeddings]
    """CLIP scorers by name."""
    scorer_sha8: Mapping[str, str]


class Studio:
    """One generator with the sampling settings that all arms share."""

    def __init__(self, sampler: Sampler, config: EvalConfig) -> None:
        """Keep the sampler and how to use it."""
        self.sampler, self._config = sampler, config

    def draw(self, prompts: Sequence[Prompt], guidance: float) -> Pictures:
        """Draw one picture per prompt."""
        settings = SamplingConfig(
            guidance=guidance, num_steps=self._config.images.num_steps, batch_size=self._config.batch_size
        )
        texts, keys = [prompt.text for prompt in prompts], [prompt.key for prompt in prompts]
        return self.sampler.generate(texts, keys, settings, seed=NOISE_SEED).numpy().transpose(0, 3, 1, 2)

    def true_pictures(self, prompts: Sequence[Prompt]) -> Pictures:
        """Render the prompts' scenes at the generator's size: what a perfect generator could draw."""
        size_px = self.sampler.image_size_px
        pictures = [
            render(prompt.scene, seeds.numpy_generator("true picture", prompt.key), RENDER_SIZE_PX, RENDER_SIZE_PX)
            for prompt in prompts
        ]
        return np.stack([np.asarray(resize_center_crop(picture, size_px)) for picture in pictures])


def measure_images(config: EvalConfig, studio: Studio, instruments: Instruments) -> Iterator[Measurement]:
    """Choose guidance on development prompts, then yield the scores of every prompt set."""
    # All prompts are read before the first picture is drawn: a missing set shows at once.
    prompt_sets = {
        name: read_prompts(config.miniweb, config.recaptions, name, config.images.num_prompts) for name in PROMPT_SETS
    }
    best = yield from _development(config, studio, instruments)
    guidances = {"fixed": config.images.fixed_guidance, "best": best}
    for name, prompts in prompt_sets.items():
        truth = studio.true_pictures(prompts)
        drawn: dict[float, Pictures] = {}
        for tag, guidance in guidances.items():
            if guidance not in drawn:
                drawn[guidance] = studio.draw(prompts, guidance)
            outcomes = score_set(name, tag, prompts, drawn[guidance], truth, instruments)
            yield from _measured(config, f"prompts_{name}", outcomes, _protocol(config, tag, instruments))
        ceiling = true_scores(prompts, truth, instruments)
        yield from _measured(config, f"prompts_{name}", ceiling, _protocol(config, "true renders", instruments))
        pictures = {"truth": truth, **{tag: drawn[guidance] for tag, guidance in guidances.items()}}
        save_pictures(config.output_dir / "images", name, prompts, pictures, config.images.num_pictures)


def score_set(
    name: str,
    tag: str,
    prompts: Sequence[Prompt],
    pictures: Pictures,
    truth: Pictures,
    instruments: Instruments,
) -> Mapping[str, Outcome]:
    """Score one set of pictures: claims, whole prompts, extra things, distance to true pictures, CLIP scores."""
    keys, parsed = [prompt.key for prompt in prompts], [parse(prompt.text) for prompt in prompts]
    seen, features = perceive(instruments.judges["A"], pictures)
    scores = score_prompts(keys, parsed, seen)
    outcomes: dict[str, Outcome] = {
        f"claims_{tag}": claims_followed(scores),
        f"whole_{tag}": whole_prompts(scores),
        f"extra_things_{tag}": extra_things(scores),
    }
    if tag == "fixed":
        by_kind = {f"claims_{tag}_{kind}": claims_followed_of_kind(scores, kind) for kind in CLAIM_KINDS}
        outcomes.update({metric: outcome for metric, outcome in by_kind.items() if outcome.count})
    second, _ = perceive(instruments.judges["B"], pictures)
    outcomes[f"claims_{tag}_judge_B"] = claims_followed(score_prompts(keys, parsed, second))
    if name in FRECHET_SETS:
        outcomes[f"frechet_{tag}"] = _cloud(keys, features, perceive(instruments.judges["A"], truth)[1])
    for scorer, embeddings in instruments.scorers.items():
        outcomes[f"{scorer}_score_{tag}"] = clip_score(prompts, pictures, embeddings)
    return outcomes


def true_scores(prompts: Sequence[Prompt], truth: Pictures, instruments: Instruments) -> Mapping[str, Outcome]:
    """Score true pictures of the prompts' scenes: the ceiling, and the floor of pictures given to the next prompt."""
    keys, parsed = [prompt.key for prompt in prompts], [parse(prompt.text) for prompt in prompts]
    seen, _ = perceive(instruments.judges["A"], truth)
    scores = score_prompts(keys, parsed, seen)
    return {
        "claims_ceiling": claims_followed(scores),
        "whole_ceiling": whole_prompts(scores),
        "claims_floor": claims_followed(score_prompts(keys, parsed, _next(seen))),
        **{f"{name}_score_ceiling": clip_score(prompts, truth, scorer) for name, scorer in instruments.scorers.items()},
    }


def clip_score(prompts: Sequence[Prompt], pictures: Pictures, scorer: Embeddings) -> Outcome:
    """Measure 100 x max(cosine, 0) between picture and prompt (the scale of torchmetrics, not Hessel's 2.5)."""
    images = scorer.images([encode_png(picture) for picture in pictures])
    texts = scorer.texts([prompt.text for prompt in prompts])
    cosines = np.clip((images * texts).sum(axis=1), 0.0, None) * 100.0
    return mean_of({prompt.key: cosine for prompt, cosine in zip(prompts, cosines.tolist(), strict=True)})


def _development(config: EvalConfig, studio: Studio, instruments: Instruments) -> Generator[Measurement, None, float]:
    """Yield development scores; return the guidance at which most claims are followed."""
    prompts = development_prompts(config.miniweb, config.images.num_development_prompts)
    keys, parsed = [prompt.key for prompt in prompts], [parse(prompt.text) for prompt in prompts]
    followed: dict[float, float] = {}
    for guidance in sorted({*config.images.guidance_scales, config.images.fixed_guidance}):
        seen, _ = perceive(instruments.judges["A"], studio.draw(prompts, guidance))
        own = score_prompts(keys, parsed, seen)
        followed[guidance] = claims_followed(own).value
        protocol = _protocol(config, f"guidance {guidance:g}", instruments)
        outcomes: dict[str, Outcome] = {f"claims_guidance_{guidance:g}": claims_followed(own)}
        if guidance == config.images.fixed_guidance:
            outcomes["binding_gap"] = _gap(prompts, own, score_prompts(keys, parsed, _next(seen)))
        yield from _measured(config, "development", outcomes, protocol)
    chosen = max(config.images.guidance_scales, key=lambda scale: followed[scale])
    point = Interval(chosen, chosen, chosen)
    protocol = f"guidance of {list(config.images.guidance_scales)} with most claims followed"
    yield Measurement(metric="development/best_guidance", protocol=protocol, count=len(prompts), interval=point)
    return chosen


def _measured(
    config: EvalConfig, data_set: str, outcomes: Mapping[str, Outcome], protocol: str
) -> Iterator[Measurement]:
    for metric, outcome in outcomes.items():
        yield measure(f"{data_set}/{metric}", outcome, protocol, config.bootstrap_replicates)


def _protocol(config: EvalConfig, tag: str, instruments: Instruments) -> str:
    """Name everything that numbers of one column must share; each arm's own best guidance is not part of it."""
    guidance = f"fixed guidance {config.images.fixed_guidance:g}" if tag == "fixed" else tag
    judges = ", ".join(f"judge {name} {sha8}" for name, sha8 in instruments.judge_sha8.items())
    scorers = "".join(f", scorer {name} {sha8}" for name, sha8 in instruments.scorer_sha8.items())
    return (
        f"{guidance}, {config.images.num_steps} steps, noise seed {NOISE_SEED}; {judges}{scorers}; "
        f"FD[judge-{instruments.judge_sha8['A']}] to true renders of the prompts' scenes"
    )


def _gap(prompts: Sequence[Prompt], own: Mapping[str, PromptScore], other: Mapping[str, PromptScore]) -> Outcome:
    """Measure how much better pictures follow their own prompts than others', in the manner the model knows best.

    It is 0 on the learning plateau. A model of alt-text alone need not follow a recaption to have left it.
    """

    def gap(key: str) -> float:
        return _share(own[key]) - _share(other[key])

    styles = dict.fromkeys(prompt.style for prompt in prompts)
    gaps = [mean_of({each.key: gap(each.key) for each in prompts if each.style == style}) for style in styles]
    return max(gaps, key=lambda gap: gap.value)


def _share(score: PromptScore) -> float:
    return score.num_supported / max(score.num_claims + score.num_extra_things, 1)


def _cloud(
    keys: Sequence[str], features: Float[np.ndarray, "picture width"], reference: Float[np.ndarray, "picture width"]
) -> Cloud:
    order = np.argsort(np.array(keys))
    return Cloud(np.array(keys)[order], features[order], reference)


def _next(items: Sequence[T]) -> list[T]:
    """Give each prompt the picture of the next one."""
    return [*items[1:], items[0]]
