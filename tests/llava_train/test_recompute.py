"""Blocks computed twice: equal gradients, less kept."""

from pathlib import Path

import torch

from llava_train.attention import LEAN
from llava_train.network import SupervisedCaptioner
from llava_train.recompute import recompute_blocks
from tests.llava_train.test_packed_rows import both_ways, load, loss_and_gradients


def bytes_kept(captioner: SupervisedCaptioner) -> int:
    """Return the bytes that the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in captioner.parameters()}
    batch, _ = both_ways(captioner)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        sums = captioner(batch.input_ids, batch.labels, batch.images)
    assert sums.loss.requires_grad
    return sum(size for storage, size in kept.items() if storage not in weights)


def test_gradients_are_equal_to_the_bit_and_less_is_kept(export: Path) -> None:
    captioner = load(export, LEAN)
    batch, _ = both_ways(captioner)
    wanted, kept = loss_and_gradients(captioner, batch), bytes_kept(captioner)
    recompute_blocks(captioner.llava, True)
    again, kept_less = loss_and_gradients(captioner, batch), bytes_kept(captioner)
    assert wanted.keys() == again.keys()
    assert all(torch.equal(wanted[name], again[name]) for name in wanted)
    assert kept_less < 0.6 * kept


def test_a_later_phase_can_do_without(export: Path) -> None:
    captioner = load(export, LEAN)
    kept = bytes_kept(captioner)
    recompute_blocks(captioner.llava, True)
    recompute_blocks(captioner.llava, False)
    assert bytes_kept(captioner) == kept


def test_only_the_language_model_is_computed_twice(export: Path) -> None:
    captioner = load(export, LEAN)
    recompute_blocks(captioner.llava, True)
    enabled = [name for name, module in captioner.named_modules() if getattr(module, "gradient_checkpointing", False)]
    assert len(enabled) == len(captioner.llava.model.language_model.layers)
    assert all(name.startswith("llava.model.language_model.layers.") for name in enabled)
