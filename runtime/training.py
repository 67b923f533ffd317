"""One model in training: what an update does to it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from runtime.ema import Ema
from runtime.engine import Engine
from runtime.errors import NonFiniteError
from runtime.gradients import UpdateSums, compute_gradients
from runtime.loop_config import LoopConfig
from runtime.loss_guard import LossGuard
from runtime.metrics import Window
from runtime.schedules import SCHEDULES
from runtime.task import CoupledTask, Task

_MAX_KEYS_SHOWN = 8


class Training:
    """Hold the engine with model and optimizer, the EMA and the open window of metrics; take updates one by one."""

    def __init__(
        self,
        task: Task | CoupledTask,
        model: nn.Module,
        config: LoopConfig,
        seed: int,
        multipliers: Mapping[str, int | float],
    ):
        self._task, self._config, self._seed = task, config, seed
        self.engine = Engine(task, model, config, multipliers)
        self.ema = None if config.ema_decay is None else Ema(model, config.ema_decay)
        self.window = Window()
        self.guard = LossGuard(config)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of an update, before its group's multiplier."""
        multiplier = SCHEDULES[self._config.schedule](step, self._config.num_updates, self._config.warmup_updates)
        return self._config.learning_rate * multiplier

    def update(self, step: int, microbatches: Sequence[Any], *, stop: bool = False) -> bool:
        """Take one optimizer step on this rank's microbatches; return whether any rank was asked to stop.

        Raises NonFiniteError, leaving model, optimizer and EMA as they were.
        """
        if not self.engine.model.training:
            # A callback may have left it in evaluation mode; frozen parts that were put there on purpose stay so.
            self.engine.model.train()
        self.engine.clear_gradients()
        buffers = self._kept_buffers()
        sums = compute_gradients(
            self.engine, self._task, microbatches, seed=self._seed, step=step, batch_size=self._config.batch_size
        )
        stopping, values, shares, grad_norm = self._read(sums, self.engine.gradient_norm(), stop)
        good = self.guard.allows(values["loss"] / sums.count)
        if good and (grad_norm is None or math.isfinite(grad_norm)):
            grad_norm = self.engine.step(self.learning_rate(step), grad_norm)
        if grad_norm is None or not (good and math.isfinite(grad_norm)):
            self._restore(buffers)
            self._refuse(step, microbatches, sums, values["loss"] / sums.count, grad_norm)
        if self.ema is not None:
            self.ema.update()
        self.guard.learn(values["loss"] / sums.count)
        self.window.add(values, sums.count, grad_norm, shares)
        return stopping

    def _kept_buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the model's buffers with copies of them where a run may go on: batch statistics move in a pass."""
        if not self._config.max_refused_updates:
            return []
        return [(buffer, buffer.clone()) for buffer in self.engine.model.buffers()]

    @staticmethod
    def _restore(buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
        for buffer, kept in buffers:
            buffer.copy_(kept)

    def _read(
        self, sums: UpdateSums, grad_norm: Tensor | None, stop: bool
    ) -> tuple[bool, dict[str, float], dict[str, tuple[float, float]], float | None]:
        """Bring an update's numbers to the host in one copy, summed over ranks (the gradient norm is alike on all)."""
        loss = torch.stack(sums.totals).sum()
        apart = [value for pair in sums.shares.values() for value in pair]
        numbers = torch.stack([value.detach().double() for value in (loss, *sums.metrics.values(), *apart)])
        flagged = torch.cat([numbers, numbers.new_tensor([float(stop)])])
        summed = self.engine.sum_over_ranks(flagged)
        known = [] if grad_norm is None else [grad_norm.double().reshape(1)]
        *values, stops = torch.cat([*known, summed]).tolist()
        norm = values.pop(0) if known else None
        names = ("loss", *sums.metrics)
        pairs = zip(values[len(names) :: 2], values[len(names) + 1 :: 2], strict=True)
        return stops > 0, dict(zip(names, values)), dict(zip(sums.shares, pairs, strict=True)), norm

    def _refuse(
        self, step: int, microbatches: Sequence[Any], sums: UpdateSums, loss: float, grad_norm: float | None
    ) -> NoReturn:
        finite = [bool(torch.isfinite(total)) for total in sums.totals]
        if len(finite) == len(microbatches) and not all(finite):
            mine = [key for batch, good in zip(microbatches, finite) if not good for key in batch.keys]
        elif math.isfinite(loss) or len(finite) != len(microbatches):
            mine = [key for batch in microbatches for key in batch.keys]
        else:
            mine = []
        keys = [key for part in self.engine.gather_objects(mine) for key in part]
        more = f" and {len(keys) - _MAX_KEYS_SHOWN} more" if len(keys) > _MAX_KEYS_SHOWN else ""
        shown = ", ".join(str(key) for key in keys[:_MAX_KEYS_SHOWN])
        norm = "not computed" if grad_norm is None else f"{grad_norm:g}"
        is_finite = math.isfinite(loss) and (grad_norm is None or math.isfinite(grad_norm))
        what = f"found a loss above {self.guard.limit:g}" if is_finite else "found a value that is not finite"
        raise NonFiniteError(
            f"step {step}: loss {loss:g}, gradient norm {norm}: {what}; "
            f"the update was not taken. Samples: {shown}{more}",
            loss=loss,
            grad_norm=grad_norm,
            keys=keys,
        )
