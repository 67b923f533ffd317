import open_clip
import pytest
import torch

from clip_train.architecture import WORDPIECE_END_ID, build_model, model_config
from clip_train.presets import MODELS, find_preset
from runtime.errors import UserError

PAPER_COMBINATIONS = ["s_small", "s_base", "b_base", "b_large", "l_large", "l_huge"]


def config_of(name: str) -> dict:
    return model_config(find_preset(name), image_size_px=32, vocab_size=50, context_length=12)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_reads_images_and_texts(name: str) -> None:
    model = build_model(config_of(name), seed=0)
    output = model(torch.randn(2, 3, 32, 32), torch.randint(0, 50, (2, 12)))
    width = MODELS[name].embed_dim
    assert output["image_features"].shape == output["text_features"].shape == (2, width)


def test_weights_are_a_function_of_the_seed() -> None:
    first, same, other = (build_model(config_of("s_small"), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model(config_of("s_small"), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_table_four_pairs_each_vision_tower_with_its_row_and_the_next_text_tower() -> None:
    assert [name for name in MODELS if name != "foundation"] == PAPER_COMBINATIONS
    models = [build_model(config_of(name), seed=0) for name in PAPER_COMBINATIONS]
    for part in ("visual", "transformer"):
        sizes = [sum(p.numel() for p in getattr(model, part).parameters()) for model in models]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize(("name", "end_id"), [("b_base", WORDPIECE_END_ID), ("foundation", 49)])
def test_text_features_ignore_what_follows_the_end(name: str, end_id: int) -> None:
    model = build_model(config_of(name), seed=0).eval()
    ids = torch.randint(4, 49, (1, 12))
    ids[0, 5] = end_id
    changed = ids.clone()
    changed[0, 8:] = 2
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(ids), model.encode_text(changed))


@pytest.mark.parametrize("name", ["b_base", "b_large"])
def test_a_text_starts_as_the_average_of_its_words(name: str) -> None:
    model = build_model(config_of(name), seed=0).eval()
    rows = [
        [2, 7, 8, 9, 10, WORDPIECE_END_ID],
        [2, 10, 9, 8, 7, WORDPIECE_END_ID],
        [2, 17, 18, 19, 20, WORDPIECE_END_ID],
    ]
    ids = torch.nn.functional.pad(torch.tensor(rows), (0, 6))
    with torch.no_grad():
        text, reordered, other = model.encode_text(ids, normalize=True)
    assert text @ reordered > 0.9 > 0.85 > text @ other


def test_a_longer_word_embedding_weighs_more_at_the_start() -> None:
    model = build_model(config_of("b_base"), seed=0).eval()
    rows = [[2, 7, 8, WORDPIECE_END_ID], [2, 7, 9, WORDPIECE_END_ID]]
    ids = torch.nn.functional.pad(torch.tensor(rows), (0, 8))
    likeness = []
    for gain in (1, 3):
        model.token_embedding.weight.data[7] *= gain
        with torch.no_grad():
            first, second = model.encode_text(ids, normalize=True)
        likeness.append((first @ second).item())
    assert likeness[1] > likeness[0] + 0.05


def test_config_builds_an_equal_model_in_open_clips_own_factory(tmp_path) -> None:
    import json

    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config_of("l_huge")}))
    theirs = open_clip.create_model(f"local-dir:{tmp_path}")
    ours = build_model(config_of("l_huge"), seed=0)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert {name: tensor.shape for name, tensor in theirs.state_dict().items()} == shapes


def test_unknown_model_is_named_with_the_ones_there_are() -> None:
    with pytest.raises(UserError, match=r"model: unknown model: found b_huge, wanted one of s_small, s_base, b_base"):
        find_preset("b_huge")
