"""An exponential moving average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema:
    """Average a model's trainable parameters in float32: average <- decay * average + (1 - decay) * weights."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone().float() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's present weights."""
        live = [_own(parameter.detach()).float() for parameter in self._live.values()]
        torch._foreach_lerp_([_own(average) for average in self._average.values()], live, 1.0 - self.decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite a model's parameters with their averages; parameters that were never trained stay."""
        parameters = dict(model.named_parameters())
        for name, average in self._average.items():
            parameters[name].copy_(average)

    def averages(self) -> dict[str, Tensor]:
        """Return name -> averaged float32 tensor (the live tensors, not copies), spread over ranks as weights are."""
        return dict(self._average)

    def state_dict(self) -> dict[str, Tensor]:
        """Return name -> averaged float32 tensor (the live tensors, not copies), of spread ones this rank's share."""
        return {name: _own(average) for name, average in self._average.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over saved averages; names and shapes must be those of the model."""
        if state.keys() != self._average.keys():
            raise ValueError(f"EMA of other parameters: {sorted(state.keys() ^ self._average.keys())[:5]}")
        for name, average in self._average.items():
            _own(average).copy_(state[name])


def _own(tensor: Tensor) -> Tensor:
    """Return this rank's share of a tensor, the whole of one that is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
