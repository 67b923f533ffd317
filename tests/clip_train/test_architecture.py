import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP

from clip_train.architecture import build_model, model_config
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
    assert isinstance(model, CLIP if MODELS[name].family == "openai" else CustomTextCLIP)


def test_weights_are_a_function_of_the_seed() -> None:
    first, same, other = (build_model(config_of("s_small"), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["text.token_embedding.weight"], other["text.token_embedding.weight"])


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model(config_of("s_small"), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_table_four_pairs_each_vision_tower_with_its_row_and_the_next_text_tower() -> None:
    assert [name for name in MODELS if name != "foundation"] == PAPER_COMBINATIONS
    models = [build_model(config_of(name), seed=0) for name in PAPER_COMBINATIONS]
    for part in ("visual", "text"):
        sizes = [sum(p.numel() for p in getattr(model, part).parameters()) for model in models]
        assert sizes == sorted(sizes)


def test_text_of_the_papers_clip_is_bidirectional_and_pools_the_last_slot() -> None:
    model = build_model(config_of("b_base"), seed=0).eval()
    ids = torch.randint(1, 50, (1, 12))
    changed_first, changed_last = ids.clone(), ids.clone()
    changed_first[0, 0] += 1 - 2 * int(ids[0, 0] == 49)
    changed_last[0, -1] = 0
    with torch.no_grad():
        plain, first, last = (model.encode_text(row) for row in (ids, changed_first, changed_last))
    assert model.text.pool_type == "last" and model.text.attn_mask is None
    assert not torch.allclose(plain, first) and not torch.allclose(plain, last)


def test_text_of_the_foundation_ignores_what_follows_its_end() -> None:
    model = build_model(config_of("foundation"), seed=0).eval()
    ids = torch.randint(1, 49, (1, 12))
    ids[0, 5:] = 49
    changed = ids.clone()
    changed[0, 8:] = 3
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(ids), model.encode_text(changed))


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
