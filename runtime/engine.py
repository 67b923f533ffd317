"""The model as it is trained: on its device, in its precision, on its processes."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from runtime import launch, seeds
from runtime.device import pick_device
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.moving import to_device
from runtime.optimizer import freeze_and_group, set_learning_rate
from runtime.parallelism import Parallelism
from runtime.replicated import Replicated
from runtime.storage import leave_files, set_storage_types
from runtime.task import CoupledTask, LossSum, Task


class Engine:
    """Prepare a task, its model and optimizer for all ranks, and give the loop what depends on device and processes."""

    def __init__(
        self,
        task: Task | CoupledTask,
        model: nn.Module,
        config: LoopConfig,
        multipliers: Mapping[str, int | float] | None = None,
    ):
        self.rank = launch.rank()
        self.world_size = launch.world_size()
        _check_division(config, self.world_size)
        _check_sharding(config, task)
        _set_up_torch(config)
        freeze_and_group(model, multipliers or {})
        set_storage_types(model, config.frozen_weights)
        device = pick_device(config.device)
        if device.type == "cpu":
            leave_files(model)
        # accelerate keeps its settings in process-wide state; a second phase may ask for another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        build = _parallelism(config)
        self._parallelism = build(task, model, config, multipliers or {}, device)
        # accelerate sets the number of threads when it starts several CPU processes.
        torch.set_num_threads(config.threads)
        self._is_coupled = isinstance(task, CoupledTask)
        self.device, self.model, self.optimizer = self._parallelism.device, model, self._parallelism.optimizer

    @property
    def is_sharded(self) -> bool:
        """Whether a rank holds only its share of the training, so that the model can't be used by itself."""
        return self._parallelism.is_sharded

    def gradients_shared(self, now: bool) -> AbstractContextManager[None]:
        """Surround one forward and backward pass; `now` says that it is the update's last."""
        return self._parallelism.gradients_shared(now)

    def forward(self, batch: Any, seed: int, step: int, position: int) -> Any:
        """Run the task on one microbatch with noise derived from (seed, step, position).

        The device's own generator, which dropout draws from, is seeded the same way, so calling twice gives twice the
        same.
        """
        noise = seeds.torch_generator(seed, "noise", step, position, device=self.device.type)
        self._seed_dropout(seeds.derive(seed, "dropout", step, position))
        outputs = self._parallelism.module(batch, step, noise)
        return outputs if self._is_coupled else LossSum(**outputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to the update's. Ranks average what is wanted as a sum."""
        self._parallelism.backward(loss)

    def clear_gradients(self) -> None:
        """Forget the gradients of the update before."""
        self._parallelism.clear_gradients()

    def gradient_norm(self) -> Tensor | None:
        """Return the norm of the update's gradient; None where only `step` computes it."""
        return self._parallelism.gradient_norm()

    def step(self, learning_rate: float, grad_norm: float | None) -> float:
        """Clip, step and return the norm before clipping; one that is not finite says that no step was taken."""
        set_learning_rate(self.optimizer, learning_rate)
        return self._parallelism.step(grad_norm)

    def whole_weights(self, names: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Return the given parameters and buffers put together from all ranks; nothing on other ranks than the main.

        Sharded ones come to the main process's own memory one by one.
        """
        weights = {}
        for name, tensor in names:
            whole = self._parallelism.whole(tensor)
            if self.rank == 0:
                weights[name] = whole.cpu() if self.is_sharded else whole
        return weights

    def optimizer_state(self) -> dict[str, Any]:
        """Return the optimizer's state, or this rank's share of it."""
        return self._parallelism.optimizer_state()

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `optimizer_state` returned on this rank."""
        self._parallelism.load_optimizer_state(state)

    def to_device(self, batch: Any) -> Any:
        """Return a batch with its tensors on the device."""
        return batch if self.device.type == "cpu" else to_device(batch, self.device)

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
        if self.world_size > 1:
            torch.distributed.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

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


def _check_sharding(config: LoopConfig, task: Task | CoupledTask) -> None:
    if config.sharding == "none":
        return
    if not launch.is_launched():
        fix = "Start it as `torchrun --nproc-per-node GPUS -m ...`, one GPU included"
        raise UserError("no launcher started this process", where="sharding", found=config.sharding, fix=fix)
    if isinstance(task, CoupledTask) and config.sharding != "fsdp2":
        raise UserError(
            "this loss couples samples: each is computed twice in an update",
            where="sharding",
            found=config.sharding,
            wanted="none or fsdp2",
        )


def _parallelism(config: LoopConfig) -> Callable[..., Parallelism]:
    # Imported where they are asked for: DeepSpeed takes seconds, and not everybody has it.
    if config.sharding == "fsdp2":
        from runtime.fully_sharded import FullySharded

        return FullySharded
    if config.sharding in ("zero2", "zero3"):
        from runtime.zero_sharded import ZeroSharded

        return ZeroSharded
    return Replicated


def _set_up_torch(config: LoopConfig) -> None:
    if config.deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size, read when the first GPU context opens.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.deterministic = config.deterministic
