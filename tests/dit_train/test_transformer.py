import math

import pytest
import torch

from dit_train.layers import attend, average_windows, sincos_positions
from dit_train.transformer import SHARE_OF_AVERAGE, TIME_SCALE, TextDiT
from tests.dit_train.conftest import TEXT_WIDTH, small_transformer, stir


def inputs(num_images: int = 3, num_tokens: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(num_images, 3, 16, 16, generator=generator)
    timestep = TIME_SCALE * torch.rand(num_images, generator=generator)
    hidden = torch.randn(num_images, num_tokens, TEXT_WIDTH, generator=generator)
    mask = torch.arange(num_tokens)[None] < torch.tensor([5, 2, 3])[:num_images, None]
    return images, timestep, hidden, mask


def test_a_fresh_transformer_predicts_nothing() -> None:
    images, *rest = inputs()
    velocity = small_transformer(predicts_image=False)(images, *rest).sample
    assert torch.equal(velocity, torch.zeros_like(images))


def test_fresh_blocks_are_the_identity() -> None:
    """adaLN-Zero: zero gates close self-attention and MLP, a zero output layer closes cross-attention."""
    block = small_transformer(zero_init_text_out=True).blocks[0]
    tokens, condition, text = torch.randn(2, 4, 32), torch.randn(2, 32), torch.randn(2, 5, 32)
    key, value = block.read_text(text)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    assert torch.equal(block(tokens, condition, key, value, mask, "eager"), tokens)
    stir(block)
    assert not torch.allclose(block(tokens, condition, key, value, mask, "eager"), tokens)


def test_only_the_text_moves_a_block_whose_text_output_is_not_zeroed() -> None:
    block = small_transformer(zero_init_text_out=False).blocks[0]
    tokens, condition, text = torch.randn(2, 4, 32), torch.randn(2, 32), torch.randn(2, 5, 32)
    key, value = block.read_text(text)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    moved = block(tokens, condition, key, value, mask, "eager")
    assert torch.equal(moved, block(tokens, 2 * condition, key, value, mask, "eager"))
    assert not torch.allclose(moved, tokens)


def test_text_memory_equals_text(transformer: TextDiT) -> None:
    images, timestep, hidden, mask = inputs()
    memory = transformer.read_text(hidden, mask)
    direct = transformer(images, timestep, hidden, mask).sample
    assert torch.equal(transformer(images, timestep, text_memory=memory).sample, direct)


def test_cross_attention_can_start_as_a_share_of_the_average_token() -> None:
    block = small_transformer(text_starts_averaged=True).blocks[0]
    tokens, condition, text = torch.randn(2, 4, 32), torch.randn(2, 32), torch.randn(2, 5, 32)
    mask = (torch.arange(5) < torch.tensor([[5], [2]]))[:, None, None]
    moved = block(tokens, condition, *block.read_text(text), mask, "eager")
    averages = torch.stack([text[0].mean(0), text[1, :2].mean(0)])
    torch.testing.assert_close(moved, tokens + SHARE_OF_AVERAGE * averages[:, None])


def test_fewer_texts_than_images_are_repeated_in_order(transformer: TextDiT) -> None:
    _, _, hidden, mask = inputs()
    images, timestep = torch.randn(6, 3, 16, 16), TIME_SCALE * torch.rand(6)
    once = transformer(images, timestep, hidden, mask).sample
    torch.testing.assert_close(once, transformer(images, timestep, hidden.repeat(2, 1, 1), mask.repeat(2, 1)).sample)


def test_masked_tokens_are_not_read(transformer: TextDiT) -> None:
    images, timestep, hidden, mask = inputs()
    changed = torch.where(mask[..., None], hidden, torch.randn_like(hidden))
    first = transformer(images, timestep, hidden, mask).sample
    torch.testing.assert_close(transformer(images, timestep, changed, mask).sample, first)
    hidden[:, 0] += 1
    assert not torch.allclose(transformer(images, timestep, hidden, mask).sample, first)


def test_windows_average_real_tokens_only() -> None:
    hidden = torch.tensor([[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 8.0, 0.0, 0.0]])[..., None]
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    averages, kept = average_windows(hidden, mask, 2)
    assert averages[..., 0].tolist() == [[2.0, 6.0, 9.0], [3.0, 8.0, 0.0]]
    assert kept.tolist() == [[True, True, True], [True, True, False]]
    same, same_mask = average_windows(hidden, mask, 1)
    assert torch.equal(same * mask[..., None], hidden)
    assert torch.equal(same_mask, mask)


def test_both_attentions_agree(transformer: TextDiT) -> None:
    arguments = inputs()
    eager = transformer(*arguments).sample
    transformer.attention_implementation = "sdpa"
    torch.testing.assert_close(transformer(*arguments).sample, eager, rtol=1e-4, atol=1e-4)


def test_attend_equals_the_definition() -> None:
    query, key, value = (torch.randn(1, 1, 3, 4, dtype=torch.float64) for _ in range(3))
    weights = torch.softmax(query[0, 0] @ key[0, 0].T / math.sqrt(4), dim=-1)
    expected = weights.float().double() @ value[0, 0]
    torch.testing.assert_close(attend(query, key, value, None, "eager")[0, 0], expected, rtol=1e-6, atol=1e-6)


def test_patches_are_cut_and_joined_without_loss(transformer: TextDiT) -> None:
    images = torch.randn(2, 3, 16, 16)
    patches = transformer._to_patches(images)
    assert patches.shape == (2, 4, 3 * 8 * 8)
    assert torch.equal(patches[0, 1].view(3, 8, 8), images[0, :, :8, 8:])
    assert torch.equal(transformer._to_image(patches), images)


def test_predicting_the_image_divides_by_the_level() -> None:
    model = small_transformer(predicts_image=True)
    images, _, hidden, mask = inputs()
    timestep = TIME_SCALE * torch.tensor([1.0, 0.5, 0.0])
    velocity = model(images, timestep, hidden, mask).sample
    expected = images / torch.tensor([1.0, 0.5, 0.05])[:, None, None, None]  # a fresh head predicts the image 0
    torch.testing.assert_close(velocity, expected)


def test_positions_are_distinct_and_bounded() -> None:
    positions = sincos_positions(4, 32)
    assert positions.shape == (16, 32)
    assert positions.abs().max() <= 1
    assert torch.cdist(positions, positions).fill_diagonal_(9).min() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 5}, "sample_size 16 is not a multiple of patch_size 5"),
        ({"num_heads": 3}, "width 32 is not a multiple of num_heads 3"),
        ({"width": 30}, "width 30 is not a multiple of 4"),
        ({"form": "adaln"}, "form 'adaln' is none of"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_transformer(**changes)


def test_text_is_required(transformer: TextDiT) -> None:
    images, timestep, *_ = inputs()
    with pytest.raises(ValueError, match="encoder_hidden_states"):
        transformer(images, timestep)


@pytest.mark.parametrize("form", ["adaln_zero", "adaln_single"])
def test_queries_and_keys_of_any_length_attend_alike_once_normalised(form: str) -> None:
    model = small_transformer(form=form, qk_norm=True, text_summary=False, text_window=1)
    stir(model)
    before = model(*inputs()).sample
    with torch.no_grad():
        for block in model.blocks:
            block.query_key_value.weight[: 2 * 32] *= 7
            block.query_key_value.bias[: 2 * 32] *= 7
            block.text_query.weight *= 7
            block.text_query.bias *= 7
    torch.testing.assert_close(model(*inputs()).sample, before, rtol=1e-3, atol=1e-3)


def test_a_learned_variance_comes_in_further_channels() -> None:
    model = small_transformer(predicts_image=False, out_channels=6)
    stir(model)
    assert model(*inputs()).sample.shape == (3, 6, 16, 16)
