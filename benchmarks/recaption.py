"""Recaptioning: a worker of ours beside transformers' generate, image by image and in batches of arrival."""

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from benchmarks.race import Contender, race, table, timed
from benchmarks.recaption_shards import write_shards
from benchmarks.tiny_captioner import write_captioner
from imagetext.conversations import PAPER_PROMPT
from imagetext.decode import decode
from imagetext.sidecars import read_sidecar_table
from recaption.captioners.opening import open_captioner
from recaption.config import RecaptionConfig
from recaption.engine_config import EngineConfig
from recaption.executors.local import caption_units
from recaption.inputs.opening import open_units
from recaption.inputs.units import SUCCESS
from recaption.job.manifest import describe_job, write_manifest

ABOUT = """\
Greedy captions of one shard of drawn pictures under the paper's prompt, in float32 on one core. Ours goes from tar to
parquet: a worker of `recaption run` reads, decodes, captions and writes; `deterministic` in batches fixed by the places
of rows, `as rows come` in batches that ended rows leave. The other ways use what transformers offers, `AutoProcessor`
and then `model.generate` with the library's default attention, from the same tar's pictures to texts in memory: one
picture at a time, as LLaVA's evaluation scripts do (the first few pictures of the shard), or in batches in order of
arrival, which run until their longest answer ends. All have their model loaded before the clock runs."""

TRAINED = Path("runs/mini/captioner/main/export")
"""The captioner of the miniature web, where it was trained here."""

_BATCH_SIZE = 32
"""Pictures a batch of `generate`."""
_OUR_BATCH_SIZE = 64
"""Our default."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    num_pictures: int = 256
    num_single: int = 16
    """Pictures captioned one at a time."""
    max_new_tokens: int = 128
    """The paper's limit."""


SIZES = {"full": Size(), "tiny": Size(num_pictures=4, num_single=2, max_new_tokens=4)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of captions in each way, with the share of equal texts."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        trained = TRAINED.is_dir() and size.num_pictures > _BATCH_SIZE
        model = TRAINED if trained else write_captioner(folder / "model")
        write_shards(folder / "shards", size.num_pictures, 96)
        plain = _Generate(model, size.max_new_tokens)
        ours = {
            name: _Worker(folder, model, size, deterministic=deterministic)
            for name, deterministic in (("deterministic", True), ("as rows come", False))
        }
        pictures = ours["deterministic"].pictures
        contenders = [
            _contender("generate, single images", lambda: plain.caption(pictures(size.num_single), 1), size.num_single),
            _contender(
                f"generate, batches of {_BATCH_SIZE}",
                lambda: plain.caption(pictures(size.num_pictures), _BATCH_SIZE),
                size.num_pictures,
            ),
            *(_contender(f"recaption, {name}", worker.run, size.num_pictures) for name, worker in ours.items()),
        ]
        results = race(contenders, repeats=repeats)
        theirs = plain.caption(pictures(size.num_pictures), _BATCH_SIZE)
        captions = {name: worker.captions() for name, worker in ours.items()}
        lengths = ours["deterministic"].lengths()
    quarters = [round(value) for value in statistics.quantiles(lengths, method="inclusive")]
    same = {name: sum(a == b for a, b in zip(texts, theirs, strict=True)) for name, texts in captions.items()}
    what = f"The captioner in `{TRAINED}`" if trained else "An untrained captioner whose answers end at many lengths"
    return (
        f"{what}; {size.num_pictures} pictures, at most {size.max_new_tokens} tokens. Lengths of the answers: a "
        f"quarter up to {quarters[0]}, half up to {quarters[1]}, three quarters up to {quarters[2]} tokens, the "
        f"longest {max(lengths)}.\n\n{table(results, unit='captions')}\n"
        + "".join(
            f"Equal texts from `generate` and from ours, {name}: {count} of {len(theirs)}.\n"
            for name, count in same.items()
        )
    )


def _contender(name: str, work: Callable[[], object], num_pictures: int) -> Contender:
    return Contender(name=name, seconds=partial(timed, work), num_items=num_pictures)


class _Worker:
    """A worker of ours with its captioner open: from shards to sidecars."""

    def __init__(self, folder: Path, model: Path, size: Size, *, deterministic: bool):
        self._config = RecaptionConfig(
            output_dir=folder / f"side_{deterministic}",
            model=model,
            shards=str(folder / "shards"),
            max_new_tokens=size.max_new_tokens,
            batch_size=_OUR_BATCH_SIZE,
            precision="fp32",
            device="cpu",
            deterministic=deterministic,
            engine=EngineConfig(supervised=False),
        )
        self._captioner = open_captioner(self._config)

    def run(self) -> None:
        """Caption the shards into a fresh folder."""
        shutil.rmtree(self._config.output_dir, ignore_errors=True)
        units = open_units(self._config)
        job = describe_job(self._config, self._captioner.captioner_id, len(units))
        write_manifest(self._config.output_dir, job)
        for report in caption_units(self._config, units, open_captioner=lambda _: self._captioner):
            assert set(report.statuses) == {SUCCESS}, f"not everything was captioned: {report.statuses}"

    def pictures(self, count: int) -> Iterator[Image.Image]:
        """Return the first pictures of the shards, decoded as they are taken."""
        rows = (row for unit in open_units(self._config) for row in unit.rows())
        return (decode(row.image) for row in islice(rows, count) if row.image is not None)

    def captions(self) -> list[str]:
        """Return what the last run wrote, in the shards' order."""
        return [str(row["re_caption"]) for row in self._rows()]

    def lengths(self) -> list[int]:
        """Return the tokens of each caption of the last run."""
        return [int(row["num_tokens"]) for row in self._rows()]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for unit in open_units(self._config):
            yield from read_sidecar_table(self._config.output_dir, unit.name).to_pylist()


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
    def caption(self, images: Iterator[Image.Image], batch_size: int) -> list[str]:
        """Return the texts, in order."""
        texts: list[str] = []
        while batch := list(islice(images, batch_size)):
            texts.extend(self._batch(batch))
        return texts

    def _batch(self, batch: Sequence[Image.Image]) -> list[str]:
        prompts = [self._prompt] * len(batch)
        inputs = self._processor(images=list(batch), text=prompts, return_tensors="pt", add_special_tokens=False)
        ids = self._model.generate(**inputs, do_sample=False, max_new_tokens=self._max_new_tokens)
        answers = ids[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self._processor.batch_decode(answers, skip_special_tokens=True)]
