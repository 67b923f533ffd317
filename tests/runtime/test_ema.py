"""The moving average of weights."""

import pytest
import torch
from torch import nn

from runtime.ema import Ema


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_average_moves_whatever_the_weights_type(dtype: torch.dtype) -> None:
    """In bfloat16 a step of a ten-thousandth of 0.1 would round away: of 2000 steps nothing would be left."""
    model = nn.Linear(4, 4, bias=False, dtype=dtype)
    nn.init.ones_(model.weight)
    ema = Ema(model, 0.9999)
    with torch.no_grad():
        model.weight += 0.125  # both types hold it
    for _ in range(2000):
        ema.update()
    (average,) = ema.state_dict().values()
    assert average.dtype == torch.float32
    torch.testing.assert_close(average, torch.full((4, 4), 1 + 0.125 * (1 - 0.9999**2000)), rtol=0, atol=1e-5)
