"""Compiled blocks compute what others do."""

from pathlib import Path

import pytest
import torch

from clip_train.architecture import compile_blocks
from clip_train.text_tower import encode_text
from tests.clip_train.test_model_files import build, small

LENGTHS = torch.tensor([3, 7, 5, 12])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_blocks_give_equal_features_and_gradients(tmp_path: Path) -> None:
    """Of both towers, the text's in groups of two lengths; names of weights stay."""
    plain, compiled = (build(small("Recap-CLIP-B-16-masked", tmp_path)) for _ in range(2))
    names = list(compiled.state_dict())
    compile_blocks(compiled)
    assert list(compiled.state_dict()) == names
    ids = torch.randint(4, 39, (len(LENGTHS), 12), generator=torch.Generator().manual_seed(0))
    images = torch.randn(len(LENGTHS), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    features = []
    for model in (plain, compiled):
        found = torch.cat([model.encode_image(images), encode_text(model, ids, LENGTHS)])
        found.sin().sum().backward()
        features.append(found.detach())
    assert any(module._compiled_call_impl is not None for module in compiled.modules())
    # Sums run in another order, in float32.
    torch.testing.assert_close(features[1], features[0], rtol=1e-5, atol=1e-5)
    for (name, mine), other in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            # Against the largest: entries that nearly cancel keep what sums in another order differ by.
            away = (mine.grad - other.grad).abs().max() / other.grad.abs().max()
            assert away < 1e-5, f"{name}: {away}"
