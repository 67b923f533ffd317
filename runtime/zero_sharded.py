"""Gradients and optimizer state, or the weights too, shared out among ranks: DeepSpeed's ZeRO, through accelerate."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import DeepSpeedPlugin
from torch import Tensor, nn

from runtime import launch
from runtime.deepspeed_settings import read_settings
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.optimizer import build_optimizer
from runtime.parallelism import Parallelism
from runtime.task import Task
from runtime.task_module import TaskModule

_SWITCH = "ACCELERATE_USE_DEEPSPEED"
"""Set by accelerate when it meets a DeepSpeed plugin, and read by every later Accelerator of the process."""
_SAVED = {
    2: ("base_optimizer_state", "single_partition_of_fp32_groups"),
    3: ("optimizer_state_dict", "fp32_flat_groups"),
}
"""By stage, what of DeepSpeed's state changes in training: the optimizer's, and the float32 weights that it steps."""


class ZeroSharded(Parallelism):
    """ZeRO stage 2 or 3, whichever the settings say."""

    is_sharded = True

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        config: LoopConfig,
        multipliers: Mapping[str, int | float],
        device: torch.device,
    ):
        _require_deepspeed(device)
        is_bf16 = config.precision == "bf16"
        settings = read_settings(config, launch.world_size())
        self._stage: int = settings["zero_optimization"]["stage"]
        # DeepSpeed would start its float32 weights from their bfloat16 copies.
        exact = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad and is_bf16}
        optimizer = build_optimizer(model, config, multipliers)
        module = TaskModule(task, model, autocast_device=device.type if is_bf16 else None)
        accelerator = _accelerator(settings, config, device)
        try:
            self._engine, _ = accelerator.prepare(module, optimizer)
        finally:
            _leave_no_trace()
        self.module, self.optimizer = self._engine, self._engine.basic_optimizer
        self.device = torch.device(self._engine.device)
        self._refuse_other_engine(device)
        self._start_from(model, exact)

    def _refuse_other_engine(self, device: torch.device) -> None:
        """Refuse to train when accelerate prepared something else than what was asked for."""
        from deepspeed import DeepSpeedEngine

        is_deepspeed = isinstance(self._engine, DeepSpeedEngine)
        stage = int(self._engine.zero_optimization_stage()) if is_deepspeed else None
        found = (type(self._engine).__name__, stage, torch.distributed.get_world_size(), self.device.type)
        wanted = ("DeepSpeedEngine", self._stage, launch.world_size(), device.type)
        if found != wanted:
            raise RuntimeError(f"accelerate prepared {found}; asked for {wanted}")

    def _start_from(self, model: nn.Module, exact: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param

        for name, parameter in model.named_parameters():
            if name in exact:
                safe_set_full_fp32_param(parameter, exact[name].to(self.device))

    @contextmanager
    def gradients_shared(self, now: bool) -> Iterator[None]:
        """Tell DeepSpeed whether the update ends with this pass; it reduces gradients in every one."""
        self._engine.set_gradient_accumulation_boundary(now)
        yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, which is divided already."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def clear_gradients(self) -> None:
        """Leave it to DeepSpeed's step, which forgets them when it has used them."""

    def gradient_norm(self) -> None:
        """Return None: DeepSpeed computes the norm within its step."""

    def step(self, grad_norm: float | None) -> float:
        """Step, unless DeepSpeed finds the gradient not finite and skips it."""
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        return norm if self._engine.was_step_applied() else math.inf

    def whole(self, tensor: Tensor) -> Tensor:
        """Gather a parameter: the float32 weights of those trained, the others as they are stored."""
        from deepspeed import zero
        from deepspeed.utils import safe_get_full_fp32_param

        if tensor.requires_grad:
            return safe_get_full_fp32_param(tensor).detach()
        if not hasattr(tensor, "ds_id"):
            return tensor.detach()
        with zero.GatheredParameters([tensor]):
            return tensor.detach().clone()

    def optimizer_state(self) -> dict[str, Any]:
        """Return this rank's share, without what DeepSpeed derives from its settings."""
        state = self._engine.optimizer.state_dict()
        return {name: state[name] for name in _SAVED[self._stage]}

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take over this rank's share."""
        zero = self._engine.optimizer
        # Of the list of all ranks' states DeepSpeed reads this rank's own.
        states = [zero.state_dict() | dict(state)] * launch.world_size()
        zero.load_state_dict(states, load_from_fp32_weights=True)
        if self._stage == 3:
            # Small weights are kept whole on every rank; they still are those of the start.
            zero.checkpoint_event_epilogue()


def _require_deepspeed(device: torch.device) -> None:
    if find_spec("deepspeed") is None:
        fix = "Install it: pip install --constraint constraints.txt '.[deepspeed]'; or train with fsdp2"
        raise UserError("DeepSpeed is not installed", where="sharding", found="zero2 or zero3", fix=fix)
    if device.type == "cpu" and torch.cuda.is_available():
        fix = "Hide the GPUs (CUDA_VISIBLE_DEVICES=''), or train on them"
        raise UserError("DeepSpeed takes the GPUs it sees", where="device", found="cpu", wanted="cuda or auto", fix=fix)


def _accelerator(settings: Mapping[str, Any], config: LoopConfig, device: torch.device) -> Accelerator:
    """Return accelerate with DeepSpeed in it; on a CPU too, where `cpu=True` would silently leave DeepSpeed out."""
    from deepspeed import ops
    from deepspeed.utils import logger

    # What matters of what DeepSpeed says is an error here.
    logger.setLevel("ERROR")
    on_cpu = device.type == "cpu"
    if on_cpu:
        # It would build, for minutes, a kernel that only inference calls; now it finds none that it could build.
        ops.__compatible_ops__ = {}
    return Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        gradient_accumulation_steps=settings["gradient_accumulation_steps"],
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=dict(settings), zero3_init_flag=False),
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if on_cpu else None,
    )


def _leave_no_trace() -> None:
    """Let models built later in this process be whole again: transformers would build them sharded."""
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    os.environ.pop(_SWITCH, None)
