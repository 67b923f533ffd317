"""Captions of drawn pictures, sound ones and ones with a fault planted in them, each kind of fault in several forms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from imagetext.caption_flags import names
from imagetext.conversations import PAPER_PROMPT
from miniweb import annotator
from miniweb.world import sample_scene
from runtime.seeds import numpy_generator


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One caption, what is known of its making, and the faults it was given."""

    text: str
    planted: frozenset[str] = frozenset()
    finish_reason: str = "stop"
    alt_text: str | None = None
    """What its captioner was told; None where it was told nothing."""


REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot describe this image.",
    "I am unable to identify the people in the picture. {caption}",
    "As an AI language model, I cannot see images.",
    "Unfortunately, I am not able to view the picture you sent.",
    "Sorry, I can't assist with that request.",
    "No image was provided. Please upload one.",
    "I don't have the ability to see pictures.",
)
OPENINGS = (
    "The image shows ",
    "The image features ",
    "This picture depicts ",
    "In this image, there is ",
    "In the photo, we can see ",
    "This is a close-up photo of ",
    "Sure! Here is a detailed caption: ",
    "The image is a photograph of ",
)
DENIALS = (
    "There are no people in the picture.",
    "No text is visible.",
    "There is nothing else around.",
    "The brand is not clearly visible.",
    "The picture does not contain any animals.",
    "There isn't any writing on it.",
    "It stands there without any other objects nearby.",
    "The season cannot be determined.",
)
ENDINGS = (
    "Overall, the image conveys a sense of calm.",
    "The overall mood is cheerful.",
    "In summary, it is a delightful sight.",
    "The scene evokes memories of summer.",
    "The image captures the beauty of nature.",
    "The atmosphere creates a feeling of warmth.",
)
MARKS = ("<|eot_id|>", "<|start_header_id|>assistant", "</s>", "[INST]", "<pad>", "\ufffd\ufffd", "<image>", "<0x0A>")
FOREIGN = (
    "一只红色的鸟停在树枝上，背景是蓝天。",
    "Красная машина стоит у дома на зелёной лужайке.",
    "قطة سوداء تجلس على كرسي أمام النافذة.",
    "赤い家の前に木が立っています。",
    "빨간 자동차가 집 앞에 서 있습니다.",
)
ALT_TEXTS = (
    "Buy cheap garden chairs online with free shipping today",
    "Moyie BC railway station photo from the summer of 1987 by J. Smith",
    "best price guarantee on all wooden toys for children of every age",
)
HARD_NEGATIVES = (
    'A shop door with a sign that reads "Sorry, we are closed" in red letters.',
    'A placard says "No people visible beyond this point" beside a gate.',
    "A man in a hat and a woman in a hat and a child in a hat stand on a pier.",
    "A very, very, very tall tower rises above small houses.",
    "A poster on which a girl says: “I cannot see you!” to a bear.",
    "Images of saints line the walls of a small chapel.",
    "A picture frame stands on the desk, and a photograph of a boat hangs above it.",
    "A shop sign in Tokyo reads “寿司” above a wooden door with a lantern.",
    "Two birds, two boats and two people with two dogs are on the beach.",
    "Row after row of red tulips, yellow tulips, white tulips and pink tulips fill the field.",
    "The word café is written on the window of a small crêperie in Orléans.",
    "A red bus passes. A blue bus follows. A green bus waits.",
    "A painter shows her painting of the scene to an old man.",
    "A bowl with nothing in it but a spoon stands on the table.",
    "A sign with the letters NO SMOKING hangs over the bar.",
    "Overall-clad workers repair a bridge at dusk.",
    "Overalls and boots hang on a washing line behind a barn.",
    "A caption contest page with a cartoon of two cats who argue.",
    "A dog runs on grass.",
    "A clock shows ten minutes past ten on the front of a station with four pillars, four doors and four windows.",
    "Π and Σ are drawn on a blackboard in a classroom full of children.",
    "A white mug with the text \"I'm sorry I'm late\" stands beside a laptop.",
)
"""Sound captions that come near to a fault."""


def planted_captions(num_each: int) -> list[Planted]:
    """Return sound captions, the hard ones among them, and as many with each kind of fault."""
    generator = numpy_generator("planted captions")
    sound = [_sound(generator) for _ in range(num_each)]
    made = [Planted(text=text) for text in (*sound, *HARD_NEGATIVES)]
    for plant in PLANTS.values():
        made += [plant(_sound(generator), generator) for _ in range(num_each)]
    return made


def _sound(generator: np.random.Generator) -> str:
    return annotator.describe(sample_scene(generator, "web"), generator)


def _pick(choices: tuple[str, ...], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]


def _refusal(caption: str, generator: np.random.Generator) -> Planted:
    text = _pick(REFUSALS, generator).replace("{caption}", caption)
    return Planted(text=text, planted=frozenset({names.REFUSAL}))


def _opening(caption: str, generator: np.random.Generator) -> Planted:
    text = _pick(OPENINGS, generator) + caption[:1].lower() + caption[1:]
    return Planted(text=text, planted=frozenset({names.BOILERPLATE_OPENING}))


def _denial(caption: str, generator: np.random.Generator) -> Planted:
    sentences = caption.split(". ")
    sentences.insert(int(generator.integers(1, len(sentences) + 1)), _pick(DENIALS, generator).rstrip("."))
    return Planted(text=". ".join(sentences), planted=frozenset({names.NEGATIVE_STATEMENT}))


def _ending(caption: str, generator: np.random.Generator) -> Planted:
    return Planted(text=f"{caption} {_pick(ENDINGS, generator)}", planted=frozenset({names.SUBJECTIVE_ENDING}))


def _marks(caption: str, generator: np.random.Generator) -> Planted:
    words = caption.split()
    words.insert(int(generator.integers(len(words) + 1)), _pick(MARKS, generator))
    return Planted(text=" ".join(words), planted=frozenset({names.SPECIAL_TOKENS}))


def _foreign(caption: str, generator: np.random.Generator) -> Planted:
    foreign = _pick(FOREIGN, generator)
    text = foreign if generator.random() < 0.5 else f"{caption.split('. ')[0]}. {' '.join(FOREIGN)}"
    return Planted(text=text, planted=frozenset({names.WRONG_SCRIPT}))


def _loop(caption: str, generator: np.random.Generator) -> Planted:
    """Repeat the last few words until the limit, a sentence, or marks: what greedy decoding falls into."""
    words, kind = caption.split(), int(generator.integers(3))
    if kind == 0:
        period, start = int(generator.integers(1, 12)), int(generator.integers(6, len(words)))
        looped = words[:start] + (words[max(0, start - period) : start] * 60)[:60]
        return Planted(
            text=" ".join(looped), planted=frozenset({names.REPETITION_LOOP, names.CUT_OFF}), finish_reason="length"
        )
    if kind == 1:
        sentences = caption.split(". ")
        text = ". ".join([*sentences[:1], *([sentences[1]] * int(generator.integers(3, 6))), *sentences[2:]])
        return Planted(text=text, planted=frozenset({names.REPETITION_LOOP}))
    return Planted(text=f"{caption} {'!' * 40}", planted=frozenset({names.REPETITION_LOOP}))


def _cut(caption: str, generator: np.random.Generator) -> Planted:
    words = caption.split()
    text = " ".join(words[: int(generator.integers(len(words) // 2, len(words)))])
    return Planted(text=text, planted=frozenset({names.CUT_OFF}), finish_reason="length")


def _empty(caption: str, generator: np.random.Generator) -> Planted:
    return Planted(text=" " * int(generator.integers(3)), planted=frozenset({names.EMPTY}))


def _short(caption: str, generator: np.random.Generator) -> Planted:
    return Planted(
        text=" ".join(caption.split()[: int(generator.integers(1, 3))]), planted=frozenset({names.TOO_SHORT})
    )


def _echo(caption: str, generator: np.random.Generator) -> Planted:
    words = PAPER_PROMPT.split()
    start = int(generator.integers(0, 5))
    forms = (f"Caption: {caption}", f"{PAPER_PROMPT} {caption}", f"{caption} {' '.join(words[start : start + 8])}")
    return Planted(text=_pick(forms, generator), planted=frozenset({names.PROMPT_ECHO}))


def _copied(caption: str, generator: np.random.Generator) -> Planted:
    alt_text = _pick(ALT_TEXTS, generator)
    forms = (alt_text, f"{caption} {alt_text}.", f"A photo of {alt_text.lower()}.")
    return Planted(text=_pick(forms, generator), planted=frozenset({names.ALT_TEXT_COPIED}), alt_text=alt_text)


PLANTS: Mapping[str, Callable[[str, np.random.Generator], Planted]] = {
    names.EMPTY: _empty,
    names.TOO_SHORT: _short,
    names.CUT_OFF: _cut,
    names.REPETITION_LOOP: _loop,
    names.REFUSAL: _refusal,
    names.SPECIAL_TOKENS: _marks,
    names.WRONG_SCRIPT: _foreign,
    names.PROMPT_ECHO: _echo,
    names.ALT_TEXT_COPIED: _copied,
    names.BOILERPLATE_OPENING: _opening,
    names.NEGATIVE_STATEMENT: _denial,
    names.SUBJECTIVE_ENDING: _ending,
}
"""What plants each fault in a sound caption."""
