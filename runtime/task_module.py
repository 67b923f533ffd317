"""A model and its task as one module."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from runtime.task import CoupledTask, Task


class TaskModule(nn.Module):
    """A model and its task as one module: DDP, DeepSpeed and autocast wrap whatever the task calls on the model.

    Its outputs are plain dictionaries of tensors, which is what all of them search for the tensors they hook.
    """

    def __init__(self, task: Task | CoupledTask, model: nn.Module, *, autocast_device: str | None = None):
        """`autocast_device` names the device type to compute in bfloat16 on, where nothing around the module does."""
        super().__init__()
        self.task = task
        self.model = model
        self.is_coupled = isinstance(task, CoupledTask)
        self._autocast_device = autocast_device

    def forward(self, batch: Any, step: int, generator: torch.Generator) -> dict[str, Any]:
        """Return the task's summed loss as a dictionary, or its features when its loss couples samples."""
        with self._precision():
            # Looked up once: asking a protocol takes longer than a small layer.
            if self.is_coupled:
                return self.task.features(self.model, batch, step, generator)  # type: ignore[union-attr]
            sums = self.task.loss(self.model, batch, step, generator)  # type: ignore[union-attr]
        return {"total": sums.total, "metrics": dict(sums.metrics), "shares": dict(sums.shares)}

    def _precision(self) -> AbstractContextManager[object]:
        if self._autocast_device is None:
            return nullcontext()
        return torch.autocast(self._autocast_device, dtype=torch.bfloat16)
