"""Small models must be able to tell what the pictures show at 64 pixels; else nothing measured means anything."""

import io
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from miniweb.draw import encode, render
from miniweb.scene import Size
from miniweb.world import COLOURS, KINDS, SPECIES_BY_NAME, Domain, sample_scene

_FULL = Domain(num_things_shares=(0.0, 0.0, 0.0, 1.0), repeat_share=0.0)
_ANSWERS = {"kind": KINDS, "species": tuple(SPECIES_BY_NAME), "colour": tuple(COLOURS), "size": get_args(Size)}


def _cells(num_scenes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The four cells of each picture at 64 pixels, and what stands in them."""
    generator = np.random.default_rng(seed)
    cells, answers = [], []
    for _ in range(num_scenes):
        scene = sample_scene(generator, _FULL)
        side_px = int(generator.integers(80, 129))
        jpeg = encode(render(scene, generator, side_px, side_px))
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).resize((64, 64), Image.Resampling.BICUBIC))
        for thing in scene.things:
            top, left = 32 * (thing.y > 0.5), 32 * (thing.x > 0.5)
            cells.append(pixels[top : top + 32, left : left + 32])
            answers.append([options.index(getattr(thing, name)) for name, options in _ANSWERS.items()])
    return torch.tensor(np.stack(cells)).permute(0, 3, 1, 2).float() / 127.5 - 1, torch.tensor(answers)


def _layer(num_in: int, num_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(num_in, num_out, 3, 2, 1), nn.BatchNorm2d(num_out), nn.ReLU())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_network_tells_kinds_species_colours_and_sizes_at_64_pixels() -> None:
    torch.manual_seed(0)
    sizes = [len(options) for options in _ANSWERS.values()]
    cells, answers = _cells(2500, seed=1)
    network = nn.Sequential(_layer(3, 32), _layer(32, 64), _layer(64, 128), nn.Flatten(), nn.Linear(2048, sum(sizes)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    for _ in range(6):
        for chosen in torch.randperm(len(cells)).split(64):
            parts = network(cells[chosen]).split(sizes, -1)
            loss = sum(F.cross_entropy(part, answers[chosen][:, i]) for i, part in enumerate(parts))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
    network.eval()
    held_out, truth = _cells(300, seed=2)
    with torch.no_grad():
        parts = network(held_out).split(sizes, -1)
    right = [float((part.argmax(1) == truth[:, i]).float().mean()) for i, part in enumerate(parts)]
    assert np.greater(right, (0.92, 0.85, 0.97, 0.97)).all(), dict(zip(_ANSWERS, right, strict=True))
