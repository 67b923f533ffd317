"""Two ways to train a captioner on the same samples: this project's loop, and transformers' own Trainer."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

from benchmarks.llava_samples import SampleSource
from imagetext.conversations import IGNORED_LABEL
from llava_train.attention import captioner_attention
from llava_train.batch import RenderedSample
from llava_train.network import SupervisedCaptioner
from llava_train.pixels import Normaliser
from llava_train.recompute import recompute_blocks
from llava_train.task import AnswerTask
from llava_train.workload import Workload
from runtime.ema import Ema
from runtime.loop import fit
from runtime.loop_config import LoopConfig
from runtime.run import Run

_LEARNING_RATE = 1e-6
"""Small: what is measured is the time of an update, and the model stays near its start."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What both ways train, and for how long."""

    llava: LlavaForConditionalGeneration
    normaliser: Normaliser
    samples: Sequence[RenderedSample]
    batch_size: int
    microbatch_size: int
    num_updates: int
    """Updates that count; one more goes before them."""
    pad_id: int
    max_row_tokens: int
    device: torch.device
    gradient_checkpointing: bool
    workload: Workload
    """What our loop counts of each microbatch, as training does."""

    @property
    def num_counted(self) -> int:
        """Return the samples of the updates that count."""
        return self.num_updates * self.batch_size


def seconds_of_fit(contest: Contest, *, packing: bool) -> float:
    """Return the seconds of the counted updates in `runtime.loop.fit`, from the first update's end to the last's."""
    # One more than are counted, in front of which the run is left: its end would write a checkpoint.
    config = LoopConfig(
        num_updates=contest.num_updates + 2,
        batch_size=contest.batch_size,
        microbatch_size=contest.microbatch_size,
        learning_rate=_LEARNING_RATE,
        precision="bf16",
        checkpoint_every_updates=contest.num_updates + 2,
        device="cpu" if contest.device.type == "cpu" else "cuda",
        threads=torch.get_num_threads(),
        wandb="off",
    )
    contest.llava.set_attn_implementation(captioner_attention(contest.device))
    recompute_blocks(contest.llava, contest.gradient_checkpointing)
    ends: list[float] = []

    def note_time(update: int, model: nn.Module, ema: Ema | None) -> Mapping[str, int | float]:
        ends.append(_now(contest.device))
        if update > contest.num_updates:
            raise _Measured
        return {}

    source = SampleSource(
        contest.samples,
        batch_size=contest.batch_size,
        microbatch_size=contest.microbatch_size,
        pad_id=contest.pad_id,
        max_row_tokens=contest.max_row_tokens if packing else None,
    )
    with TemporaryDirectory() as folder, suppress(_Measured):
        fit(
            task=AnswerTask(),
            model=SupervisedCaptioner(contest.llava, contest.normaliser),
            source=source,
            config=config,
            run=Run.open(Path(folder), config),
            seed=0,
            workload=contest.workload,
            on_update=note_time,
        )
    return ends[-1] - ends[0]


def seconds_of_trainer(contest: Contest) -> float:
    """Return the seconds of the counted updates in transformers' `Trainer`, with its defaults where there are any."""
    AcceleratorState._reset_state(reset_partial_state=True)
    contest.llava.set_attn_implementation("sdpa")
    clock = _Clock(contest.device)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=contest.num_updates + 1,
            per_device_train_batch_size=contest.microbatch_size,
            gradient_accumulation_steps=contest.batch_size // contest.microbatch_size,
            learning_rate=_LEARNING_RATE,
            lr_scheduler_type="cosine",
            bf16=True,
            use_cpu=contest.device.type == "cpu",
            gradient_checkpointing=contest.gradient_checkpointing,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            save_strategy="no",
            logging_steps=20,
            report_to="none",
            disable_tqdm=True,
        )
        Trainer(
            model=contest.llava,
            args=arguments,
            train_dataset=_Prepared(contest),
            data_collator=_collator(contest.pad_id),
            callbacks=[clock],
        ).train()
    if contest.gradient_checkpointing:
        _undo_checkpointing(contest.llava)
    return clock.ends[-1] - clock.ends[0]


def _undo_checkpointing(llava: LlavaForConditionalGeneration) -> None:
    """Undo what `Trainer` leaves on a model whose blocks it had computed again.

    The tower's blocks are computed again too, and embeddings, also those of a frozen tower, ask for a gradient: whoever
    trains the model next would pay for it.
    """
    llava.disable_input_require_grads()
    for module in llava.modules():
        if hasattr(module, "gradient_checkpointing"):
            cast(Any, module).gradient_checkpointing = False


class _Measured(Exception):
    """Leave a run when its last counted update is done."""


class _Clock(TrainerCallback):
    def __init__(self, device: torch.device):
        self._device = device
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(_now(self._device))


class _Prepared(Dataset):
    """Samples as a processor would have left them: pixels as normalised floats."""

    def __init__(self, contest: Contest):
        self._samples = contest.samples
        self._num_read = (contest.num_updates + 1) * contest.batch_size
        with torch.no_grad():
            images = [torch.from_numpy(sample.image).unsqueeze(0) for sample in contest.samples]
            self._pixels = [contest.normaliser(image.to(contest.device)).cpu() for image in images]

    def __len__(self) -> int:
        return self._num_read

    def __getitem__(self, place: int) -> dict[str, Any]:
        index = place % len(self._samples)
        sample = self._samples[index]
        return {"input_ids": sample.input_ids, "labels": sample.labels, "pixel_values": self._pixels[index]}


def _collator(pad_id: int) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]:
    def pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
        columns = [torch.tensor(row) for row in rows]
        return nn.utils.rnn.pad_sequence(columns, batch_first=True, padding_value=filler)

    def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        ids = [sample["input_ids"] for sample in samples]
        return {
            "input_ids": pad(ids, pad_id),
            "labels": pad([sample["labels"] for sample in samples], IGNORED_LABEL),
            "attention_mask": pad([[1] * len(row) for row in ids], 0),
            "pixel_values": torch.cat([sample["pixel_values"] for sample in samples]),
        }

    return collate


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
