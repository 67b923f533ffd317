from dataclasses import replace

import pytest
import torch

from dit_train.flow import velocity_loss
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.objectives import build_objective
from dit_train.task import DiffusionTask, to_unit_range
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from imagetext.loader import ImageTextBatch
from runtime.seeds import torch_generator
from tests.dit_train.conftest import CONTEXT_LENGTH

TEXTS = ("a cat", "two dogs by a house", "a red square", "tree")
SOURCES = ("original", "recaption", "recaption", "original")


def make_task(
    text_encoder: FrozenTextEncoder,
    caption_dropout: float = 0.0,
    draws_per_image: int = 1,
    objective: ObjectiveConfig | None = None,
) -> DiffusionTask:
    return DiffusionTask(
        text_encoder,
        caption_dropout=caption_dropout,
        objective=build_objective(objective or ObjectiveConfig(), NoiseConfig()),
        draws_per_image=draws_per_image,
        sources=["original", "recaption"],
    )


def make_batch(text_encoder: FrozenTextEncoder, num_samples: int = 4) -> ImageTextBatch:
    generator = torch.Generator().manual_seed(0)
    tokens = text_encoder.tokenizer(
        list(TEXTS), padding="max_length", max_length=CONTEXT_LENGTH, truncation=True, return_tensors="pt"
    )
    chosen = slice(num_samples)
    return ImageTextBatch(
        keys=tuple(f"web/{number}" for number in range(num_samples)),
        positions=tuple(range(num_samples)),
        images=torch.randint(0, 256, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)[chosen],
        token_ids=tokens.input_ids[chosen],
        token_lengths=tokens.attention_mask.sum(1)[chosen],
        truncated=torch.zeros(num_samples, dtype=torch.bool),
        sources=SOURCES[chosen],
        texts=TEXTS[chosen],
    )


def test_the_loss_is_the_sum_over_samples_of_the_equation(
    text_encoder: FrozenTextEncoder, transformer: TextDiT
) -> None:
    task, batch = make_task(text_encoder), make_batch(text_encoder)
    loss = task.loss(transformer, batch, 0, torch_generator(1))
    draws = task.draw(batch.images.shape, torch_generator(1))
    one_by_one = [
        velocity_loss(
            transformer,
            to_unit_range(batch.images[[index]]),
            draws.noise[[index]],
            draws.levels[[index]],
            text_encoder.encode_texts([TEXTS[index]]),
        )
        for index in range(4)
    ]
    torch.testing.assert_close(loss.total, torch.cat(one_by_one).sum(), rtol=1e-4, atol=1e-4)
    assert task.count(batch) == 4


def test_an_image_drawn_often_costs_the_average_of_its_draws(
    text_encoder: FrozenTextEncoder, transformer: TextDiT
) -> None:
    task, batch = make_task(text_encoder, draws_per_image=3), make_batch(text_encoder)
    loss = task.loss(transformer, batch, 0, torch_generator(1))
    draws = task.draw(batch.images.shape, torch_generator(1))
    assert len(draws.noise) == len(draws.levels) == 12
    assert len(draws.drops) == 4
    one_by_one = [
        velocity_loss(
            transformer,
            to_unit_range(batch.images[[draw % 4]]),
            draws.noise[[draw]],
            draws.levels[[draw]],
            text_encoder.encode_texts([TEXTS[draw % 4]]),
        )
        for draw in range(12)
    ]
    torch.testing.assert_close(loss.total, torch.cat(one_by_one).sum() / 3, rtol=1e-4, atol=1e-4)
    assert loss.metrics["share/source/original"] == pytest.approx(2)
    parts = [loss.shares[f"loss/source/{name}"] for name in ("original", "recaption")]
    assert sum(float(part[0]) for part in parts) / 3 == pytest.approx(loss.total.item(), rel=1e-4)
    assert [float(part[1]) for part in parts] == [6, 6]


def test_equal_generators_give_equal_losses(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    task, batch = make_task(text_encoder, 0.5), make_batch(text_encoder)
    first, again, other = (task.loss(transformer, batch, 0, torch_generator(seed)).total for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_captions_are_dropped_at_the_asked_share(text_encoder: FrozenTextEncoder) -> None:
    drops = make_task(text_encoder, 0.1).draw(torch.Size([20_000, 1, 1, 1]), torch_generator(0)).drops
    assert drops.float().mean() == pytest.approx(0.1, abs=0.008)  # four standard errors
    assert not make_task(text_encoder, 0.0).draw(torch.Size([1000, 1, 1, 1]), torch_generator(0)).drops.any()


def test_a_dropped_caption_is_the_empty_prompt(text_encoder: FrozenTextEncoder) -> None:
    task, batch = make_task(text_encoder), make_batch(text_encoder)
    condition = task._encode(batch, torch.tensor([True, False, False, True]))
    expected = text_encoder.encode_texts(["", TEXTS[1], TEXTS[2], ""])
    length = expected.mask.shape[1]
    assert torch.equal(condition.mask[:, :length], expected.mask)
    visible = expected.mask[..., None]
    torch.testing.assert_close(condition.hidden[:, :length] * visible, expected.hidden * visible)


def test_parts_add_up_to_the_whole(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    task, batch = make_task(text_encoder, 0.5), make_batch(text_encoder)
    loss = task.loss(transformer, batch, 0, torch_generator(3))
    for family in ("source", "level"):
        parts = [value for name, (value, _) in loss.shares.items() if name.startswith(f"loss/{family}/")]
        shares = [value for name, value in loss.metrics.items() if name.startswith(f"share/{family}/")]
        torch.testing.assert_close(torch.stack(parts).sum(), loss.total.detach())
        assert torch.stack(shares).sum() == 4
    whole = make_task(text_encoder).loss(transformer, batch, 0, torch_generator(3)).metrics
    assert [whole[f"share/source/{name}"] for name in ("original", "recaption", "empty")] == [2, 2, 0]


def test_a_batch_without_samples_costs_nothing(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    task, batch = make_task(text_encoder), make_batch(text_encoder, 0)
    loss = task.loss(transformer, batch, 0, torch_generator(0))
    loss.total.backward()
    assert task.count(batch) == 0
    full = task.loss(transformer, make_batch(text_encoder), 0, torch_generator(0))
    # All ranks log the same names, whatever became of their samples.
    assert (loss.metrics.keys(), loss.shares.keys()) == (full.metrics.keys(), full.shares.keys())
    assert not any(float(part) for pair in loss.shares.values() for part in pair)
    assert loss.total == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in transformer.parameters())


def test_the_text_encoder_learns_nothing(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    make_task(text_encoder).loss(transformer, make_batch(text_encoder), 0, torch_generator(0)).total.backward()
    assert all(parameter.grad is None for parameter in text_encoder.model.parameters())
    assert not text_encoder.model.training


def test_cut_off_captions_are_counted_by_source(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    batch = replace(make_batch(text_encoder), truncated=torch.tensor([True, True, False, False]))
    shares = make_task(text_encoder, 0.5).loss(transformer, batch, 0, torch_generator(0)).shares
    assert [tuple(map(float, shares[f"truncated/{name}"])) for name in ("original", "recaption")] == [(1, 2), (1, 2)]


def test_a_bands_loss_is_the_mean_of_its_draws(text_encoder: FrozenTextEncoder, transformer: TextDiT) -> None:
    task, batch = make_task(text_encoder), make_batch(text_encoder)
    loss, draws = (
        task.loss(transformer, batch, 0, torch_generator(1)),
        task.draw(batch.images.shape, torch_generator(1)),
    )
    bands = (draws.levels * 4).long()
    for band in range(4):
        assert float(loss.shares[f"loss/level/{band}_of_4"][1]) == int((bands == band).sum())
