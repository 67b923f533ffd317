"""Begin a run with the weights of another: any open_clip directory or checkpoint file."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from open_clip.model import CLIP, resize_pos_embed
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import UserError

WEIGHTS_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
)
"""Names under which open_clip looks for a directory's weights, in its order."""
_TEXT_POSITIONS = "positional_embedding"
_IMAGE_POSITIONS = "visual.positional_embedding"
_FIX = "Give the model that these weights were trained in"


def read_weights(place: Path) -> dict[str, Tensor]:
    """Return the weights of an open_clip directory, a safetensors file or a trainer's checkpoint (`epoch_5.pt`).

    Names are those of open_clip's `CLIP`, also for models that were wrapped or keep their text tower apart. Raises
    UserError when there are none.
    """
    file = _weights_file(Path(place))
    try:
        state: Any = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError("weights can't be read", where=file, found=" ".join(str(error).split())[:200]) from error
    state = state.get("state_dict", state)
    return {name.removeprefix("module.").removeprefix("text."): tensor for name, tensor in state.items()}


def _weights_file(place: Path) -> Path:
    if place.is_file():
        return place
    for name in WEIGHTS_NAMES:
        if (place / name).is_file():
            return place / name
    wanted = f"a file, or a folder with one of {', '.join(WEIGHTS_NAMES)}"
    raise UserError("no weights to start from", where="start_from", found=str(place), wanted=wanted)


@torch.no_grad()
def start_from(model: CLIP, place: Path) -> None:
    """Give a model the weights in a file or directory; its sizes may differ in positions alone.

    Learned image positions are interpolated to another grid, fixed ones are the new grid's own. Text positions keep
    their places: a shorter context takes the first of them, a longer one keeps its initial values beyond (they are
    never stretched, which would move every word). Raises UserError naming the first weight that does not fit.
    """
    state = read_weights(place)
    _fit_positions(state, model)
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise UserError(f"no weight {name!r} to start from", where=place, wanted=list(tensor.shape), fix=_FIX)
        if state[name].shape != tensor.shape:
            found, shape = list(state[name].shape), list(tensor.shape)
            raise UserError(f"weight {name!r} has another shape", where=place, found=found, wanted=shape, fix=_FIX)
    for name in state:
        if name not in wanted:
            raise UserError(f"the model has no weight {name!r}", where=place, found=list(state[name].shape), fix=_FIX)
    model.load_state_dict(state)


def _fit_positions(state: dict[str, Tensor], model: CLIP) -> None:
    mine: Mapping[str, Tensor] = model.state_dict()
    if _IMAGE_POSITIONS in mine and _IMAGE_POSITIONS in state:
        if model.visual.positional_embedding.requires_grad:
            resize_pos_embed(state, model)
        elif state[_IMAGE_POSITIONS].shape[1] == mine[_IMAGE_POSITIONS].shape[1]:
            state[_IMAGE_POSITIONS] = mine[_IMAGE_POSITIONS]
    if _TEXT_POSITIONS in state and state[_TEXT_POSITIONS].shape[1:] == mine[_TEXT_POSITIONS].shape[1:]:
        positions = mine[_TEXT_POSITIONS].clone()
        num_kept = min(len(positions), len(state[_TEXT_POSITIONS]))
        positions[:num_kept] = state[_TEXT_POSITIONS][:num_kept]
        state[_TEXT_POSITIONS] = positions
