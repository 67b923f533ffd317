"""Every rank holds a share of each weight: PyTorch's FSDP2, `fully_shard`.

Not by way of accelerate, which on a CPU takes an FSDP2 plugin and runs plain DDP.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from runtime import launch
from runtime.clipping import clip, gradients_of
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.optimizer import build_optimizer
from runtime.parallelism import Parallelism
from runtime.task import CoupledTask, Task
from runtime.task_module import TaskModule


class FullySharded(Parallelism):
    """A share of weights, gradients and optimizer state on every rank; blocks are gathered one by one to compute.

    Weights of a single number (a temperature) can't be shared out: every rank keeps them, and their gradients are
    averaged here.
    """

    is_sharded = True

    def __init__(
        self,
        task: Task | CoupledTask,
        model: nn.Module,
        config: LoopConfig,
        multipliers: Mapping[str, int | float],
        device: torch.device,
    ):
        self._limit = config.max_grad_norm
        # Starts the process group, and knows which GPU is this process's.
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
        self.device = accelerator.device if device.type == "cuda" else device
        mesh = init_device_mesh(self.device.type, (launch.world_size(),))
        is_bf16 = config.precision == "bf16"
        # Autocast, as everywhere else, decides what computes in bfloat16; weights are gathered in it to halve the
        # traffic, and gradients are summed in float32.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if is_bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        self.module = TaskModule(task, model, autocast_device=self.device.type if is_bf16 else None)
        # The weights of no part are gathered when the whole is called. A coupled task calls a model's towers apart,
        # so that there the whole is the task with its model.
        whole = self.module if isinstance(task, CoupledTask) else model
        single = {parameter for parameter in model.parameters() if parameter.ndim == 0}
        for part in [*_parts(model), whole]:
            sharded = fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=single)
            for method in getattr(part, "gathering_methods", ()):
                register_fsdp_forward_method(part, method)
            # gloo knows no average: there the division comes after the sum.
            sharded.set_force_sum_reduction_for_comms(self.device.type == "cpu")
        for parameter in single:
            parameter.data = parameter.data.to(self.device)
        self.optimizer = build_optimizer(model, config, multipliers)
        _group_apart(self.optimizer, single)
        self._trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._single = [parameter for parameter in self._trained if parameter in single]
        self._refuse_other_engine(whole, launch.world_size())

    def _refuse_other_engine(self, whole: nn.Module, world_size: int) -> None:
        """Refuse to train when the weights are not spread over all ranks."""
        unspread = [name for name, p in whole.named_parameters() if p.ndim and not isinstance(p, DTensor)]
        found = torch.distributed.get_world_size()
        if unspread or not isinstance(whole, FSDPModule) or found != world_size:
            raise RuntimeError(
                f"asked for FSDP2 on {world_size} ranks; found {found}, and whole weights {unspread[:3]}"
            )

    @contextmanager
    def gradients_shared(self, now: bool) -> Iterator[None]:
        """Share gradients in every backward pass: holding them back would hold them whole; single numbers at last."""
        yield
        if now and self._single:
            self._average_single()

    def _average_single(self) -> None:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._single]
        averaged = torch.stack(gradients)
        torch.distributed.all_reduce(averaged)
        averaged /= torch.distributed.get_world_size()
        for parameter, gradient in zip(self._single, averaged, strict=True):
            parameter.grad = gradient.clone()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""
        loss.backward()

    def clear_gradients(self) -> None:
        """Forget the gradients of the update before."""
        self.optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> Tensor:
        """Return the norm over all ranks' shares."""
        total = torch.zeros((), device=self.device)
        for gradients in filter(None, self._gradients()):
            norm = torch.nn.utils.get_total_norm(gradients)
            total = torch.hypot(total, norm.full_tensor() if isinstance(norm, DTensor) else norm)
        return total

    def _gradients(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the shared-out gradients and those that every rank has; one operation can't take both."""
        gradients = gradients_of(self._trained)
        return [g for g in gradients if isinstance(g, DTensor)], [g for g in gradients if not isinstance(g, DTensor)]

    def step(self, grad_norm: float | None) -> float:
        """Clip and step this rank's shares."""
        assert grad_norm is not None, "the norm is computed before the step"
        for gradients in filter(None, self._gradients()):
            clip(gradients, grad_norm, self._limit)
        self.optimizer.step()
        return grad_norm

    def whole(self, tensor: Tensor) -> Tensor:
        """Gather a tensor's shares."""
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()

    def optimizer_state(self) -> dict[str, Any]:
        """Return this rank's shares as plain tensors."""
        state = self.optimizer.state_dict()
        shares = {
            index: {name: _local(value) for name, value in kept.items()} for index, kept in state["state"].items()
        }
        return {"state": shares, "param_groups": state["param_groups"]}

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take over this rank's shares."""
        spread = {
            index: {name: _spread_like(self._trained[index], value) for name, value in kept.items()}
            for index, kept in state["state"].items()
        }
        self.optimizer.load_state_dict({"state": spread, "param_groups": state["param_groups"]})


def _group_apart(optimizer: torch.optim.Optimizer, single: set[nn.Parameter]) -> None:
    """Give weights that every rank keeps groups of their own: a fused step takes no mixture."""
    for group in list(optimizer.param_groups):
        apart = [parameter for parameter in group["params"] if parameter in single]
        if len(apart) in (0, len(group["params"])):
            continue
        group["params"] = [parameter for parameter in group["params"] if parameter not in single]
        settings = {name: value for name, value in group.items() if name != "params"}
        optimizer.add_param_group({**settings, "params": apart, "name": f"{group['name']}, single numbers"})


def _parts(model: nn.Module) -> list[nn.Module]:
    """Return what is gathered at a time: a model's blocks, and each layer with weights outside them; inner ones first.

    So any part can be called by itself, by all ranks together. Layers with tied weights are left to the whole model.
    """
    blocks = _blocks(model)
    inside = {id(module) for block in blocks for module in block.modules()}
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    parts = list(blocks)
    for module in model.modules():
        weights = list(module.parameters(recurse=False))
        if module is not model and id(module) not in inside and weights and all(owners[id(w)] == 1 for w in weights):
            parts.append(module)
    order = {id(module): place for place, module in enumerate(model.modules())}
    return sorted(parts, key=lambda part: order[id(part)], reverse=True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks that a model, or a part of it, names in `_no_split_modules` (transformers' attribute).

    Raises UserError when there are none.
    """
    names = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    blocks = [module for module in model.modules() if type(module).__name__ in names and module is not model]
    if not blocks:
        raise UserError(
            f"{type(model).__name__} does not say what its blocks are",
            where="sharding",
            found="fsdp2",
            wanted="a model with `_no_split_modules`",
            fix="Name the classes of its blocks there, or train it with another sharding",
        )
    return blocks


def _local(value: Any) -> Any:
    return value.to_local() if isinstance(value, DTensor) else value


def _spread_like(parameter: nn.Parameter, value: Any) -> Any:
    """Return a saved share as one of a tensor spread like its parameter; counters and such stay as they are."""
    if not isinstance(value, Tensor) or not isinstance(parameter, DTensor) or value.ndim == 0:
        return value
    return DTensor.from_local(
        value.to(parameter.to_local().device),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
