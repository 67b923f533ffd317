"""The model as it is trained: on its device, in its precision, on its processes."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from runtime import launch, seeds
from runtime.device import pick_device
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.task import CoupledTask, LossSum, Task

_ACCELERATE_PRECISION = {"fp32": "no", "bf16": "bf16"}


class TaskModule(nn.Module):
    """A model and its task as one module, so that DDP and autocast wrap whatever the task calls on the model."""

    def __init__(self, task: Task | CoupledTask, model: nn.Module):
        super().__init__()
        self.task = task
        self.model = model
        self._is_coupled = isinstance(task, CoupledTask)

    def forward(self, batch: Any, step: int, generator: torch.Generator) -> LossSum | dict[str, Tensor]:
        """Return the task's summed loss, or its features when its loss couples samples."""
        # Looked up once: asking a protocol takes longer than a small layer.
        produce: Any = self.task.features if self._is_coupled else self.task.loss  # type: ignore[union-attr]
        return produce(self.model, batch, step, generator)


class Engine:
    """Prepare a task and its model with accelerate, and give the loop what depends on device and processes."""

    def __init__(self, task: Task | CoupledTask, model: nn.Module, config: LoopConfig):
        self.device = pick_device(config.device)
        self.rank = launch.rank()
        self.world_size = launch.world_size()
        _check_division(config, self.world_size)
        _set_up_torch(config)
        # accelerate keeps its settings in process-wide state; a second phase may ask for another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        self._accelerator = Accelerator(
            cpu=self.device.type == "cpu",
            mixed_precision=_ACCELERATE_PRECISION[config.precision],
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if self.device.type == "cuda":
            self.device = self._accelerator.device
        # accelerate sets the number of threads when it starts several CPU processes.
        torch.set_num_threads(config.threads)
        self.model = model.to(self.device)
        self.module: nn.Module = self._accelerator.prepare_model(TaskModule(task, model))
        self._refuse_other_engine()

    def _refuse_other_engine(self) -> None:
        """Refuse to train when accelerate prepared something else than what was asked for."""
        wanted = DistributedDataParallel if self.world_size > 1 else TaskModule
        if not isinstance(self.module, wanted) or self._accelerator.num_processes != self.world_size:
            raise RuntimeError(
                f"accelerate prepared {type(self.module).__name__} on {self._accelerator.num_processes} processes; "
                f"asked for {wanted.__name__} on {self.world_size}"
            )

    @contextmanager
    def gradients_shared(self, now: bool) -> Iterator[None]:
        """Let the next backward pass average gradients over ranks, or leave them local."""
        if now or self.world_size == 1:
            yield
        else:
            with self._accelerator.no_sync(self.module):
                yield

    def forward(self, batch: Any, seed: int, step: int, position: int) -> Any:
        """Run the task on one microbatch with noise derived from (seed, step, position).

        The device's own generator, which dropout draws from, is seeded the same way, so calling twice gives twice the
        same.
        """
        noise = seeds.torch_generator(seed, "noise", step, position, device=self.device.type)
        self._seed_dropout(seeds.derive(seed, "dropout", step, position))
        return self.module(batch, step, noise)

    def to_device(self, batch: Any) -> Any:
        """Return a batch dataclass with its tensors on the device."""
        if self.device.type == "cpu" or not is_dataclass(batch):
            return batch
        tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
        moved = {n: t.to(self.device, non_blocking=True) for n, t in tensors.items() if isinstance(t, Tensor)}
        return replace(batch, **moved)  # type: ignore[type-var]

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over ranks."""
        if self.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather_rows(self, rows: Tensor) -> tuple[Tensor, int]:
        """Concatenate tensors of shape (n_rank, ...) over ranks; return all rows and where this rank's begin."""
        if self.world_size == 1:
            return rows, 0
        counts = torch.zeros(self.world_size, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        sizes = self.sum_over_ranks(counts).tolist()
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)]), sum(sizes[: self.rank])

    def gather_objects(self, item: Any) -> Sequence[Any]:
        """Return every rank's item, by way of pickles: for what is small and rare."""
        if self.world_size == 1:
            return [item]
        items: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(items, item)
        return items

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        self._accelerator.wait_for_everyone()

    def _seed_dropout(self, seed: int) -> None:
        # torch.manual_seed also looks for every other kind of device, at 0.1 ms a call.
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)


def _check_division(config: LoopConfig, world_size: int) -> None:
    unit = world_size * (config.microbatch_size or 1)
    if config.batch_size % unit:
        wanted = f"a multiple of {unit} ({world_size} ranks x microbatches of {config.microbatch_size or 1})"
        raise UserError("does not divide over the ranks", where="batch_size", found=config.batch_size, wanted=wanted)


def _set_up_torch(config: LoopConfig) -> None:
    if config.deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size, read when the first GPU context opens.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.deterministic = config.deterministic
