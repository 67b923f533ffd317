"""A checkpoint that open_clip's own trainer resumes from: weights and AdamW's moments as it would have saved them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from runtime.atomic import atomic_path
from runtime.engine import Engine
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig

FOLDER = "open_clip"
"""Where in a run's folder it lies."""
_MOMENTS = ("exp_avg", "exp_avg_sq")
_NOT_DECAYED = ("bn", "ln", "bias", "logit_scale")
"""Parts of the names of weights that open_clip's trainer decays no more than vectors."""


def write_epoch_checkpoint(
    folder: Path, engine: Engine, config: Mapping[str, Any], loop: LoopConfig, num_epochs: int
) -> None:
    """Write `epoch_N.pt` for open_clip's `--resume`, whole or not at all; every rank calls this.

    `config` is the model's open_clip `model_cfg`. Weights that were frozen here have no moments and begin with none.
    """
    model: nn.Module = engine.model
    weights = engine.whole_weights(model.state_dict().items())
    moments = engine.whole_weights(_named_moments(model, engine.optimizer))
    if not is_main_process():
        return
    with torch.device("meta"):
        trained = [name for name, weight in CLIP(**dict(config)).named_parameters() if weight.requires_grad]
    optimizer = _their_optimizer({name: weights[name] for name in trained}, moments, loop)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / f"epoch_{num_epochs}.pt") as partial:
        state = {"epoch": num_epochs, "name": folder.parent.name, "state_dict": weights, "optimizer": optimizer}
        torch.save(state, partial)


def _named_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for name, weight in model.named_parameters():
        for kind, tensor in optimizer.state.get(weight, {}).items():
            yield f"{kind} {name}", tensor


def _their_optimizer(weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], loop: LoopConfig) -> dict[str, Any]:
    """Return the state of an AdamW that holds these weights in the groups and the order of open_clip's trainer."""
    parameters = {name: nn.Parameter(tensor) for name, tensor in weights.items()}
    spared = [name for name, one in parameters.items() if one.ndim < 2 or any(part in name for part in _NOT_DECAYED)]
    rest = [name for name in parameters if name not in set(spared)]
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters[name] for name in spared], "weight_decay": 0.0},
            {"params": [parameters[name] for name in rest], "weight_decay": loop.weight_decay},
        ],
        lr=loop.learning_rate,
        betas=(loop.beta1, loop.beta2),
        eps=loop.epsilon,
    )
    for name, parameter in parameters.items():
        if f"step {name}" in moments:
            optimizer.state[parameter] = {kind: moments[f"{kind} {name}"] for kind in ("step", *_MOMENTS)}
    return optimizer.state_dict()
