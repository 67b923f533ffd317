"""Recaptioning: our engine beside transformers' generate, image by image and in batches of arrival."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from benchmarks.pictures import draw_pairs
from benchmarks.race import Contender, race, table, timed
from benchmarks.tiny_captioner import write_captioner
from imagetext.conversations import PAPER_PROMPT
from recaption.captioners.transformers_captioner import Picture, TransformersCaptioner

ABOUT = """\
Greedy captions of drawn pictures under the paper's prompt by one untrained captioner in float32 on CPU: vision width
128, 16 image tokens, LLaMA width 160 with 3 layers, stop tokens made likely enough that answers end at many lengths.
Decoded pictures in, texts out. The other ways use what transformers offers: `AutoProcessor`, then `model.generate` with
the library's default attention, sdpa: one picture at a time (an eighth of them, evenly from the shortest answer to the
longest), or in batches in order of arrival, which run until their longest answer ends. In ours finished rows leave the
batch; answers of a trained captioner differ less in length than these, and it gains less from that."""

_BATCH_SIZE = 32
"""Pictures a batch of `generate`, and of ours for comparison."""
_LARGE_BATCH_SIZE = 64
"""Our default."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    num_pictures: int = 64
    num_single: int = 8
    """Pictures captioned one at a time."""
    max_new_tokens: int = 128
    """The paper's limit."""


SIZES = {"full": Size(), "tiny": Size(num_pictures=4, num_single=2, max_new_tokens=4)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of captions in each way, with the share of equal texts."""
    images = [pair.image for pair in draw_pairs(size.num_pictures, 128, 96)]
    with TemporaryDirectory() as folder:
        model = write_captioner(Path(folder))
        plain = _Generate(model, size.max_new_tokens)
        ours = {batch_size: _open(model, size, batch_size) for batch_size in (_BATCH_SIZE, _LARGE_BATCH_SIZE)}
        captions = ours[_BATCH_SIZE].caption(_pictures(images))
        lengths = [caption.num_tokens for caption in captions]
        single = [images[index] for index in _spread_over(lengths, size.num_single)]
        contenders = [
            _contender("generate, single images", lambda: plain.caption(single, 1), len(single)),
            _contender(f"generate, batches of {_BATCH_SIZE}", lambda: plain.caption(images, _BATCH_SIZE), len(images)),
            *(
                _contender(f"recaption, batches of {batch_size}", partial(_texts, captioner, images), len(images))
                for batch_size, captioner in ours.items()
            ),
        ]
        results = race(contenders, repeats=repeats)
        theirs = plain.caption(images, _BATCH_SIZE)
    same = sum(caption.text == text for caption, text in zip(captions, theirs, strict=True))
    quarters = [round(value) for value in statistics.quantiles(lengths, method="inclusive")]
    return (
        f"{len(images)} pictures, at most {size.max_new_tokens} tokens. Lengths of the answers: a quarter up to "
        f"{quarters[0]}, half up to {quarters[1]}, three quarters up to {quarters[2]} tokens.\n\n"
        f"{table(results, unit='captions')}\nEqual texts from `generate` and from ours: {same} of {len(images)}.\n"
    )


def _spread_over(lengths: Sequence[int], count: int) -> list[int]:
    """Return the indices of `count` answers that stand for all lengths: from the shortest to the longest, evenly."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    step = len(order) // count
    return order[step // 2 :: step]


def _contender(name: str, work: Callable[[], object], num_pictures: int) -> Contender:
    return Contender(name=name, seconds=partial(timed, work), num_items=num_pictures)


class _Generate:
    """What transformers offers for a LLaVA directory."""

    def __init__(self, folder: Path, max_new_tokens: int):
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        self._model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
        self._max_new_tokens = max_new_tokens
        content = [{"type": "image"}, {"type": "text", "text": PAPER_PROMPT}]
        conversation = [{"role": "user", "content": content}]
        self._prompt = self._processor.apply_chat_template(conversation, add_generation_prompt=True)

    @torch.inference_mode()
    def caption(self, images: Sequence[Image.Image], batch_size: int) -> list[str]:
        """Return the texts, in order."""
        texts: list[str] = []
        waiting = iter(images)
        while batch := list(islice(waiting, batch_size)):
            prompts = [self._prompt] * len(batch)
            inputs = self._processor(images=batch, text=prompts, return_tensors="pt", add_special_tokens=False)
            ids = self._model.generate(**inputs, do_sample=False, max_new_tokens=self._max_new_tokens)
            answers = ids[:, inputs["input_ids"].shape[1] :]
            texts.extend(text.strip() for text in self._processor.batch_decode(answers, skip_special_tokens=True))
        return texts


def _open(model: Path, size: Size, batch_size: int) -> TransformersCaptioner:
    return TransformersCaptioner(
        model,
        prompt=PAPER_PROMPT,
        max_new_tokens=size.max_new_tokens,
        batch_size=batch_size,
        precision="fp32",
        device="cpu",
    )


def _texts(captioner: TransformersCaptioner, images: Sequence[Image.Image]) -> list[str]:
    return [caption.text for caption in captioner.caption(_pictures(images))]


def _pictures(images: Sequence[Image.Image]) -> list[Picture]:
    return [Picture(key=str(index), image=image) for index, image in enumerate(images)]
