"""Every rank holds the whole model: one process, or DDP through accelerate."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from runtime import launch
from runtime.clipping import clip, gradients_of
from runtime.loop_config import LoopConfig
from runtime.optimizer import build_optimizer
from runtime.parallelism import Parallelism
from runtime.task import CoupledTask, Task
from runtime.task_module import TaskModule

_ACCELERATE_PRECISION = {"fp32": "no", "bf16": "bf16"}


class Replicated(Parallelism):
    """The whole model on every rank, its gradients averaged."""

    is_sharded = False

    def __init__(
        self,
        task: Task | CoupledTask,
        model: nn.Module,
        config: LoopConfig,
        multipliers: Mapping[str, int | float],
        device: torch.device,
    ):
        self._limit = config.max_grad_norm
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(model, config, multipliers)
        self._accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=_ACCELERATE_PRECISION[config.precision],
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.device = self._accelerator.device if device.type == "cuda" else device
        model.to(self.device)
        self.module: nn.Module = self._accelerator.prepare_model(TaskModule(task, model))
        self._refuse_other_engine(launch.world_size())

    def _refuse_other_engine(self, world_size: int) -> None:
        """Refuse to train when accelerate prepared something else than what was asked for."""
        wanted = DistributedDataParallel if world_size > 1 else TaskModule
        if not isinstance(self.module, wanted) or self._accelerator.num_processes != world_size:
            raise RuntimeError(
                f"accelerate prepared {type(self.module).__name__} on {self._accelerator.num_processes} processes; "
                f"asked for {wanted.__name__} on {world_size}"
            )

    @contextmanager
    def gradients_shared(self, now: bool) -> Iterator[None]:
        """Average gradients in the update's last backward pass; leave them local before."""
        if now or not isinstance(self.module, DistributedDataParallel):
            yield
        else:
            with self._accelerator.no_sync(self.module):
                yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""
        loss.backward()

    def clear_gradients(self) -> None:
        """Forget the gradients of the update before."""
        self.optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> Tensor:
        """Return the norm of the gradient."""
        return torch.nn.utils.get_total_norm(gradients_of(self._trained))

    def step(self, grad_norm: float | None) -> float:
        """Clip and step."""
        assert grad_norm is not None, "the norm is computed before the step"
        clip(gradients_of(self._trained), grad_norm, self._limit)
        self.optimizer.step()
        return grad_norm

    def whole(self, tensor: Tensor) -> Tensor:
        """Return the tensor: it is whole."""
        return tensor.detach()

    def optimizer_state(self) -> dict[str, Any]:
        """Return the whole state, alike on all ranks."""
        return self.optimizer.state_dict()

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state."""
        self.optimizer.load_state_dict(dict(state))
