"""Every species fits its picture: nothing is cut off at an edge."""

import numpy as np
import pytest

from miniweb.art.sprites import sprite
from miniweb.catalogue import SPECIES_BY_NAME

SIDE_PX = 160
NUM_EDGE_PX = 3


@pytest.mark.parametrize("species", sorted(SPECIES_BY_NAME))
def test_nothing_is_cut_off(species: str) -> None:
    alpha = np.asarray(sprite(species, "red", SIDE_PX))[:, :, 3] > 128
    edges = [alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]
    assert max(int(edge.sum()) for edge in edges) <= NUM_EDGE_PX
