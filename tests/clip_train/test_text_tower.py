import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP

from clip_train.architecture import WORDPIECE_END_ID, build_model, model_config
from clip_train.presets import MODELS
from clip_train.text_tower import encode_rows, encode_text, group_by_length

ENDS = [("s_small", WORDPIECE_END_ID), ("b_large", WORDPIECE_END_ID), ("foundation", 39)]
LENGTHS = torch.tensor([3, 7, 5, 12])


def scrambled(name: str) -> CLIP:
    """Build a model none of whose parts is silent or even, so that every part is seen in its features."""
    model = build_model(model_config(MODELS[name], image_size_px=32, vocab_size=40, context_length=12), seed=0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def texts_ending_with(end_id: int, padding_id: int) -> torch.Tensor:
    ids = torch.randint(4, 39, (len(LENGTHS), 12), generator=torch.Generator().manual_seed(0))
    for row, length in zip(ids, LENGTHS.tolist(), strict=True):
        row[length - 1] = end_id
        row[length:] = padding_id
    return ids


@pytest.mark.parametrize(("name", "end_id"), ENDS)
def test_features_and_gradients_are_those_of_the_whole_tower(name: str, end_id: int) -> None:
    model = scrambled(name)
    ids = texts_ending_with(end_id, padding_id=end_id if name == "foundation" else 0)
    gradients = []
    for encode in (lambda: encode_text(model, ids, LENGTHS), lambda: model.encode_text(ids)):
        model.zero_grad()
        features = encode()
        features.sin().sum().backward()
        text_gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        gradients.append((features.detach(), text_gradients))
    (ours, our_gradients), (theirs, their_gradients) = gradients
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    torch.testing.assert_close(our_gradients, their_gradients, atol=1e-4, rtol=1e-4)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_groups_hold_every_row_once_in_the_fewest_cells(lengths: list[int]) -> None:
    groups = group_by_length(torch.tensor(lengths))
    assert sorted(torch.cat(groups).tolist()) == list(range(len(lengths)))
    cells = sum(len(rows) * max(lengths[row] for row in rows) for rows in groups)
    ascending = sorted(lengths)
    splits = range(1, len(lengths) + 1)
    assert cells == min(k * ascending[k - 1] + (len(lengths) - k) * ascending[-1] for k in splits)


def test_known_groups() -> None:
    assert [rows.tolist() for rows in group_by_length(torch.tensor([9, 70, 12, 68]))] == [[0, 2], [3, 1]]
    assert [rows.tolist() for rows in group_by_length(torch.tensor([5, 5]))] == [[0, 1]]


def test_no_text_and_no_image_have_no_features() -> None:
    """A microbatch whose samples are all bad is empty; its towers run all the same, as other ranks' do."""
    model = scrambled("foundation")
    nothing = encode_text(model, torch.zeros(0, 12, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert nothing.shape == (0, MODELS["foundation"].embed_dim)
    images = encode_rows(model.encode_image, torch.zeros(0, 3, 32, 32))
    assert images.shape == nothing.shape
    (nothing.sum() + images.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
