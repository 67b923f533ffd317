"""AdamW with named parameter groups."""

from collections.abc import Mapping

import torch
from torch import nn

from runtime.errors import UserError
from runtime.loop_config import LoopConfig


def freeze_and_group(model: nn.Module, multipliers: Mapping[str, int | float]) -> dict[tuple[float, bool], list[str]]:
    """Group trainable parameter names by (learning-rate multiplier, decayed), freezing those whose multiplier is 0.

    `multipliers` maps a name prefix to its multiplier, the longest matching prefix wins; other names have 1. Raises
    UserError for a prefix that matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in multipliers:
        if not any(name.startswith(prefix) for name in names):
            raise UserError("no parameter starts with this prefix", where="learning_rate_multipliers", found=prefix)
    groups: dict[tuple[float, bool], list[str]] = {}
    for name, parameter in model.named_parameters():
        matching = [prefix for prefix in multipliers if name.startswith(prefix)]
        multiplier = multipliers[max(matching, key=len)] if matching else 1.0
        if multiplier == 0.0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((multiplier, parameter.ndim >= 2), []).append(name)
    if not groups:
        raise UserError("nothing is left to train: every parameter is frozen", where="learning_rate_multipliers")
    return groups


def build_optimizer(model: nn.Module, config: LoopConfig, multipliers: Mapping[str, int | float]) -> torch.optim.AdamW:
    """Return fused AdamW over the trainable parameters; each group knows its name and its learning-rate multiplier."""
    parameters = dict(model.named_parameters())
    groups = [
        {
            "params": [parameters[name] for name in names],
            "name": f"{'decay' if decayed else 'no_decay'} x{multiplier:g}",
            "multiplier": multiplier,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (multiplier, decayed), names in freeze_and_group(model, multipliers).items()
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the learning rate times its own multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["multiplier"]
