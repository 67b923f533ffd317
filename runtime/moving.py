"""Move a batch to where a model computes."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


def to_device(value: Any, device: torch.device) -> Any:
    """Return a value with the tensors in it on a device: of dataclasses, of tuples of them, at any depth.

    What holds no tensors (keys, counts) is handed back as it is.
    """
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and value and (isinstance(value[0], Tensor) or is_dataclass(value[0])):
        return tuple(to_device(part, device) for part in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    moved = {name: to_device(part, device) for name, part in parts.items()}
    return replace(value, **{name: part for name, part in moved.items() if part is not parts[name]})
