"""From a judge's outputs to a scene."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from eval.judge_network import MAP_CELLS, SIZES, Judge
from eval.judge_training import CLASSES, to_input
from miniweb.catalogue import BACKGROUNDS, SPECIES_BY_NAME
from miniweb.claims import Perceived
from miniweb.scene import Thing

PRESENCE_THRESHOLD = 0.5


@torch.inference_mode()
def perceive(
    judge: Judge, images: UInt8[np.ndarray, "image channel height width"], batch_size: int = 128
) -> tuple[list[Perceived], Float[np.ndarray, "image feature"]]:
    """Look at pictures; return what is seen in each, and the judge's pooled features."""
    seen: list[Perceived] = []
    features = []
    for start in range(0, len(images), batch_size):
        outputs = judge(to_input(images[start : start + batch_size]))
        seen.extend(read_outputs(outputs))
        features.append(outputs["features"].numpy())
    return seen, np.concatenate(features)


def read_outputs(outputs: dict[str, Tensor]) -> list[Perceived]:
    """Read a batch of outputs: things are the local peaks of presence above one half."""
    presence = outputs["presence"][:, 0].sigmoid()
    peaks = functional.max_pool2d(presence[:, None], 3, stride=1, padding=1)[:, 0]
    found = (presence == peaks) & (presence > PRESENCE_THRESHOLD)
    best = {head: outputs[head].argmax(dim=1) for head in ("kind", "colour", "size")}
    species = _species_of_kind(outputs["species"], best["kind"])
    backgrounds = outputs["background"].argmax(dim=1).tolist()
    names = tuple(BACKGROUNDS)
    return [
        Perceived(
            names[backgrounds[index]], _things(index, found, presence, outputs["place"], {**best, "species": species})
        )
        for index in range(len(backgrounds))
    ]


def _species_of_kind(species: Tensor, kind: Tensor) -> Tensor:
    """Choose the likeliest species among those of the kind seen, so that the two never contradict."""
    kinds = list(CLASSES["kind"])
    kind_of = torch.tensor([kinds.index(each.kind) for each in SPECIES_BY_NAME.values()], device=species.device)
    fits = kind_of[None, :, None, None] == kind[:, None]
    return species.masked_fill(~fits, -torch.inf).argmax(dim=1)


def _things(index: int, found: Tensor, presence: Tensor, place: Tensor, best: dict[str, Tensor]) -> tuple[Thing, ...]:
    cells = found[index].nonzero().tolist()
    cells.sort(key=lambda cell: -float(presence[index, cell[0], cell[1]]))
    return tuple(_thing(index, row, column, place, best) for row, column in cells)


def _thing(index: int, row: int, column: int, place: Tensor, best: dict[str, Tensor]) -> Thing:
    offset_x, offset_y, scale = place[index, :, row, column].tolist()
    names = {head: CLASSES[head][int(best[head][index, row, column])] for head in ("kind", "species", "colour")}
    size = SIZES[int(best["size"][index, row, column])]
    x, y = (column + offset_x) / MAP_CELLS, (row + offset_y) / MAP_CELLS
    return Thing(size=size, x=x, y=y, scale=scale, **names)


def as_arrays(pictures: Sequence[UInt8[np.ndarray, "height width channel"]]) -> np.ndarray:
    """Stack pictures (height, width, channel) to (picture, channel, height, width)."""
    return np.stack(pictures).transpose(0, 3, 1, 2)
