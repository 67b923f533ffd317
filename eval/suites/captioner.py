"""The `captioner` suite: questions about objects, put to the captioner on images of its own domain (our Table 1)."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from eval.config import EvalConfig
from eval.outcomes import Ratio, ratio
from eval.suite import Measurement, measure
from eval.truth import TrueSample, read_true_samples
from imagetext.decode import decode
from miniweb.catalogue import KINDS
from miniweb.lexicon import NOUNS, with_article
from runtime import seeds


@runtime_checkable
class Answerer(Protocol):
    """What the suite needs of a captioner."""

    def answer(
        self, images: Sequence[Image.Image], prompts: Sequence[str], *, max_new_tokens: int, batch_size: int
    ) -> list[str]:
        """Answer each prompt about its picture."""
        ...


def measure_captioner(config: EvalConfig, captioner: Answerer) -> Iterator[Measurement]:
    """Ask whether kinds are in the picture, as often about present as about absent ones."""
    samples = read_true_samples(config.miniweb / "captioner_heldout", config.captioner.num_images)
    asked = [(sample, *pair) for sample in samples for pair in questions(sample, config.captioner.questions_per_image)]
    answers = captioner.answer(
        [decode(sample.image) for sample, _, _ in asked],
        [f"Is there {with_article(NOUNS[kind][0])} in the image?" for _, kind, _ in asked],
        max_new_tokens=config.captioner.max_new_tokens,
        batch_size=config.batch_size,
    )
    protocol = "questions of the form 'Is there a boat in the image?', half about present kinds; no answer is wrong"
    for name, outcome in score_answers([(sample.key, there) for sample, _, there in asked], answers).items():
        yield measure(f"captioner_heldout/{name}", outcome, protocol, config.bootstrap_replicates)


def questions(sample: TrueSample, number: int) -> list[tuple[str, bool]]:
    """Choose kinds to ask about, in turn one that is there and one that is not."""
    generator = seeds.numpy_generator("object question", sample.key)
    present = sorted({thing.kind for thing in sample.scene.things})
    absent = [kind for kind in KINDS if kind not in present]
    turns = [turn % 2 == 1 for turn in range(number)]
    return [(_pick(present if there else absent, generator), there) for there in turns]


def yes_or_no(answer: str) -> bool | None:
    """Read an answer's first word; None is neither."""
    words = answer.lower().replace(".", " ").replace(",", " ").split()
    return {"yes": True, "no": False}.get(words[0]) if words else None


def score_answers(asked: Sequence[tuple[str, bool]], answers: Sequence[str]) -> dict[str, Ratio]:
    """Measure accuracy, the share answered yes and the share not answered; a test item is an image."""
    points: dict[str, dict[str, tuple[float, float]]] = {"accuracy": {}, "yes_share": {}, "unanswered_share": {}}
    for (key, there), answer in zip(asked, answers, strict=True):
        said = yes_or_no(answer)
        hits = {"accuracy": said is there, "yes_share": said is True, "unanswered_share": said is None}
        for name, hit in hits.items():
            score, weight = points[name].get(key, (0.0, 0.0))
            points[name][key] = (score + float(hit), weight + 1.0)
    return {f"object_question_{name}": ratio(by_key) for name, by_key in points.items()}


def _pick(names: Sequence[str], generator: np.random.Generator) -> str:
    return names[int(generator.integers(len(names)))]
