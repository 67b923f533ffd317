import math
from dataclasses import replace

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP
from torch.nn.functional import normalize

from clip_train.architecture import build_model, model_config
from clip_train.contrastive import (
    ContrastiveTask,
    attention_kernels,
    bound_logit_scale,
    contrastive_loss,
    normalise_images,
)
from clip_train.presets import MODELS
from imagetext.loader import ImageTextBatch


def unit_rows(count: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 17), seed=st.integers(0, 1000), scale=st.floats(1, 100))
def test_loss_and_gradients_equal_open_clips(count: int, seed: int, scale: float) -> None:
    ours = [unit_rows(count, 8, seed).requires_grad_(), unit_rows(count, 8, seed + 1).requires_grad_()]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    our_scale, their_scale = (torch.tensor(scale).requires_grad_() for _ in range(2))
    loss = contrastive_loss(*ours, our_scale)[0].total / count
    reference = open_clip.ClipLoss()(*theirs, their_scale)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(loss, reference)
    for mine, other in zip([*ours, our_scale], [*theirs, their_scale], strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_perfect_and_constant_features_have_known_losses() -> None:
    identity = torch.eye(4)
    perfect, _ = contrastive_loss(identity, identity, torch.tensor(100.0))
    assert perfect.total.item() == pytest.approx(0.0, abs=1e-6)
    assert perfect.metrics["image_to_text_accuracy"].item() == 4
    constant, by_row = contrastive_loss(torch.ones(4, 1), torch.ones(4, 1), torch.tensor(10.0))
    torch.testing.assert_close(by_row, torch.full((4,), math.log(4)))
    assert constant.total.item() == pytest.approx(4 * math.log(4))


def test_metrics_tell_the_two_directions_apart() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    metrics = contrastive_loss(images, texts, torch.tensor(5.0))[0].metrics
    assert metrics["image_to_text_accuracy"].item() == 1
    assert metrics["text_to_image_accuracy"].item() == 1
    assert metrics["logit_scale"].item() == pytest.approx(10.0)


def test_bytes_become_what_torchvision_normalises_to() -> None:
    from torchvision.transforms.functional import normalize as reference

    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    preset = MODELS["b_base"]
    expected = reference(images.float() / 255, list(preset.image_mean), list(preset.image_std))
    torch.testing.assert_close(normalise_images(images, preset.image_mean, preset.image_std), expected)


def test_attention_switch_changes_the_kernel_and_not_the_result() -> None:
    from torch.profiler import ProfilerActivity, profile

    query = torch.randn(2, 2, 9, 16)
    attention = torch.nn.functional.scaled_dot_product_attention
    plain = attention(query, query, query)
    with profile(activities=[ProfilerActivity.CPU]) as recorded, attention_kernels(torch.device("cpu")):
        switched = attention(query, query, query)
    names = {event.key for event in recorded.key_averages()}
    assert any("_scaled_dot_product_attention_math" in name for name in names)
    assert not any("flash" in name for name in names)
    torch.testing.assert_close(switched, plain)


def test_logit_scale_is_kept_between_one_and_a_hundred() -> None:
    model = tiny_model()
    for value, expected in ((9.0, 100.0), (-1.0, 1.0), (2.0, math.exp(2.0))):
        model.logit_scale.data.fill_(value)
        bound_logit_scale(0, model, None)
        assert model.logit_scale.exp().item() == pytest.approx(expected)


def tiny_model() -> CLIP:
    return build_model(model_config(MODELS["s_small"], image_size_px=32, vocab_size=40, context_length=9), seed=0)


def batch_of(sources: tuple[str, ...]) -> ImageTextBatch:
    return ImageTextBatch(
        keys=("a", "b", "c"),
        positions=(0, 1, 2),
        images=torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8),
        token_ids=torch.randint(0, 40, (3, 9)),
        token_lengths=torch.tensor([9, 4, 7]),
        truncated=torch.tensor([False, True, False]),
        sources=sources,
        texts=("x", "y", "z"),
        image_ids=torch.tensor([1, 2, 3]),
    )


def test_task_gives_unit_features_and_counts_samples() -> None:
    preset = MODELS["s_small"]
    task = ContrastiveTask(preset.image_mean, preset.image_std)
    batch = batch_of(("original",) * 3)
    features = task.features(tiny_model(), batch, 0, torch.Generator())
    assert task.count(batch) == 3
    torch.testing.assert_close(features["images"].norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(features["texts"].norm(dim=-1), torch.ones(3))
    assert features["logit_scale"].item() == pytest.approx(1 / 0.07)
    loss = task.coupled_loss(features, 0, slice(0, 3))
    torch.testing.assert_close(loss.total, contrastive_loss(**features)[0].total)


def test_each_caption_source_has_its_own_line() -> None:
    preset = MODELS["s_small"]
    task = ContrastiveTask(preset.image_mean, preset.image_std, sources=("original", "recaption", "concat"))
    batch = batch_of(("original", "recaption", "recaption"))
    features = task.features(tiny_model(), batch, 0, torch.Generator())
    loss = task.coupled_loss(features, 0, slice(0, 3))
    values = {name: (float(value), int(count)) for name, (value, count) in loss.shares.items()}
    assert values["share/original"] == (1.0, 3) and values["share/recaption"] == (2.0, 3)
    assert values["tokens/recaption"] == (11.0, 2) and values["truncated/recaption"] == (1.0, 2)
    assert values["share/concat"] == (0.0, 3) and values["loss/concat"] == (0.0, 0)
    by_source = sum(values[f"loss/{source}"][0] for source in ("original", "recaption"))
    assert by_source == pytest.approx(loss.total.item(), rel=1e-5)


@pytest.mark.parametrize(("images", "captions"), [((7, 8, 7), "xyz"), ((7, 8, 9), "xyx")], ids=["pictures", "captions"])
def test_duplicates_are_left_out_when_asked(images: tuple[int, ...], captions: str) -> None:
    preset = MODELS["s_small"]
    batch = replace(batch_of(("original",) * 3), image_ids=torch.tensor(images), texts=tuple(captions))
    task = ContrastiveTask(preset.image_mean, preset.image_std, duplicates_are_negatives=False)
    features = task.features(tiny_model(), batch, 0, torch.Generator())
    logits = features["logit_scale"] * features["images"] @ features["texts"].T
    for i, j in ((0, 2), (2, 0)):
        logits[i, j] = -torch.inf
    partners = torch.arange(3)
    expected = sum(torch.nn.functional.cross_entropy(one, partners, reduction="sum") for one in (logits, logits.T)) / 2
    torch.testing.assert_close(task.coupled_loss(features, 0, slice(0, 3)).total, expected)


def test_cached_features_replay_patch_dropout() -> None:
    """Every parameter's gradient, the temperature's too, is that of one graph over the same microbatches."""
    from runtime.engine import Engine
    from runtime.gradients import compute_gradients
    from tests.runtime.toys import loop_config

    config = model_config(MODELS["foundation"], image_size_px=32, vocab_size=40, context_length=9)
    config["vision_cfg"] |= {"patch_dropout": 0.5, "layers": 1}
    task = ContrastiveTask((0.5,) * 3, (0.2,) * 3)
    torch.manual_seed(4)
    batches = [batch_of(("original",) * 3) for _ in range(3)]
    grads = []
    for way in ("cached", "whole"):
        model = build_model(config, seed=0)
        engine = Engine(task, model, loop_config(device="cpu", batch_size=9, microbatch_size=3))
        if way == "cached":
            compute_gradients(engine, task, batches, seed=1, step=2, batch_size=9)
        else:
            parts = [engine.forward(batch, 1, 2, 18 + 3 * index) for index, batch in enumerate(batches)]
            images, texts = (torch.cat([part[name] for part in parts]) for name in ("images", "texts"))
            (contrastive_loss(images, texts, parts[0]["logit_scale"])[0].total / 9).backward()
        grads.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert {"logit_scale", "visual.conv1.weight"} <= set(grads[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)
    first, second = (engine.forward(batches[0], 1, 2, place)["images"] for place in (18, 21))
    assert not torch.equal(first, second), "patches are dropped"
