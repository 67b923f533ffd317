"""Ways to caption shards that a race can start: a worker of ours, and what transformers offers by itself."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

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
from recaption.quality.config import CanaryConfig


class Worker:
    """A worker of ours with its captioner open: from shards to sidecars."""

    def __init__(self, model: Path, shards: Path, output_dir: Path, **fields: Any):
        self._config = RecaptionConfig(
            output_dir=output_dir,
            model=model,
            shards=str(shards),
            precision="fp32",
            device="cpu",
            engine=EngineConfig(supervised=False),
            canary=CanaryConfig(pictures=0),
            **fields,
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

    def captions(self) -> list[str]:
        """Return what the last run wrote, in the shards' order."""
        return [str(row["re_caption"]) for row in self._rows()]

    def lengths(self) -> list[int]:
        """Return the tokens of each caption of the last run."""
        return [int(row["num_tokens"]) for row in self._rows()]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for unit in open_units(self._config):
            yield from read_sidecar_table(self._config.output_dir, unit.name).to_pylist()


class Generate:
    """What transformers offers for a LLaVA directory."""

    def __init__(self, folder: Path, max_new_tokens: int):
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        self._processor: Any = AutoProcessor.from_pretrained(folder)
        self._model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
        self._max_new_tokens = max_new_tokens
        self._prompt = chat_prompt(self._processor)

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


def chat_prompt(processor: Any) -> str:
    """Return the paper's prompt in a processor's own template."""
    content = [{"type": "image"}, {"type": "text", "text": PAPER_PROMPT}]
    conversation = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(conversation, add_generation_prompt=True))


def pictures(shards: Path, count: int) -> Iterator[Image.Image]:
    """Yield the first pictures of some shards, decoded as they are taken."""
    config = RecaptionConfig(output_dir=shards.parent / "unused", model=shards, shards=str(shards))
    rows = (row for unit in open_units(config) for row in unit.rows())
    return (decode(row.image) for row in islice(rows, count) if row.image is not None)


def equal_share(texts: Sequence[str], others: Sequence[str]) -> str:
    """Return how many texts are equal, in words."""
    return f"{sum(a == b for a, b in zip(texts, others, strict=True))} of {len(others)}"
