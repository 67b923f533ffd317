"""What a block keeps for its backward pass: the formulas beside what autograd saves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llava_train.activations import (
    BFLOAT16,
    MASK,
    BlockWidths,
    block_bytes_per_token,
    projector_bytes_per_token,
    tower_bytes_per_token,
)
from llava_train.config import LoraConfig
from llava_train.lora import add_adapters
from llava_train.parts import language_config, vision_config, vision_modules
from tests.llava_train.shapes import small_llava

NUM_TOKENS = 48
LORA = LoraConfig(rank=4)


def saved_bytes(module: nn.Module, run: Callable[[], Tensor]) -> int:
    """Return the bytes of all tensors that autograd saves, each storage once and weights and their copies not."""
    weights = [(parameter.shape, parameter.T.shape) for parameter in module.parameters() if parameter.ndim == 2]
    shapes = {shape for pair in weights for shape in pair}
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.shape not in shapes:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # or its memory would be given to another
        return tensor

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = run()
        assert result.requires_grad
    return sum(kept.values())


def block_saves(*, trained: bool, lora: LoraConfig | None, weights: torch.dtype) -> int:
    """Return what one block saves a token: two blocks' bytes less one's."""
    sizes = []
    for num_layers in (1, 2):
        llava = small_llava("sdpa", num_hidden_layers=num_layers)
        language: Any = llava.model.language_model
        llava.requires_grad_(trained and lora is None)
        language.to(weights)
        if lora is not None:
            add_adapters(llava, lora, seed=0)
        hidden = torch.randn(1, NUM_TOKENS, 32).bfloat16().requires_grad_()
        language.train()
        sizes.append(saved_bytes(language, lambda: language(inputs_embeds=hidden, use_cache=False).last_hidden_state))  # noqa: B023
    difference = sizes[1] - sizes[0]
    assert difference % NUM_TOKENS == 0
    return difference // NUM_TOKENS


CASES = {
    "trained, float32 weights": {"trained": True, "lora": None, "weights": torch.float32},
    "trained, bfloat16 weights": {"trained": True, "lora": None, "weights": torch.bfloat16},
    "frozen": {"trained": False, "lora": None, "weights": torch.bfloat16},
    "adapters": {"trained": True, "lora": LORA, "weights": torch.bfloat16},
    "adapters without dropout": {"trained": True, "lora": LoraConfig(rank=4, dropout=0.0), "weights": torch.bfloat16},
}
SMALL_CHANGE = 16
"""Bytes a token of what the formulas leave out: a norm's scale and the like."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_block_of_the_language_model(case: dict[str, Any]) -> None:
    expected = block_bytes_per_token(
        BlockWidths.of(language_config(small_llava())),
        is_trained=case["trained"],
        lora=case["lora"],
        weights_are_float32=case["weights"] == torch.float32,
    )
    if case["lora"] is LORA:
        # Dropout's mask: a byte in a GPU's fused kernel, of the input's own type on a CPU. Inputs of seven adapters.
        expected += (BFLOAT16 - MASK) * (5 * 32 + 32 + 56)
    assert expected <= block_saves(**case) <= expected + SMALL_CHANGE


def test_a_block_of_the_tower() -> None:
    llava = small_llava("sdpa")
    _, _, layers = vision_modules(llava)
    hidden = torch.randn(1, NUM_TOKENS, 24).requires_grad_()
    saved = saved_bytes(layers[0], lambda: layers[0](hidden, None)) / NUM_TOKENS
    expected = tower_bytes_per_token(vision_config(llava))
    assert expected <= saved <= expected + SMALL_CHANGE


def test_the_projector() -> None:
    llava = small_llava()
    projector = llava.model.multi_modal_projector
    features = torch.randn(NUM_TOKENS, 24)
    saved = saved_bytes(projector, lambda: projector(features)) / NUM_TOKENS
    assert saved == projector_bytes_per_token(vision_config(llava), language_config(llava))
