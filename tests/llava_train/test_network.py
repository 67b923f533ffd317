"""The training network against transformers' own forward pass."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from imagetext.conversations import Conversation, Turn, render_training
from llava_train.batch import RenderedSample as Rendered
from llava_train.batch import collate
from llava_train.model import LoadedCaptioner, load_captioner
from llava_train.network import SupervisedCaptioner, image_features
from llava_train.task import AnswerTask
from tests.llava_train import tiny


@pytest.fixture(scope="module")
def captioner(export: Path) -> LoadedCaptioner:
    return load_captioner(export, device="cpu", precision=torch.float32)


def sample(captioner: LoadedCaptioner, key: str, answer: str, colour: str | None) -> Rendered:
    mark = "" if colour is None else "<image>\n"
    turns = (Turn("user", f"{mark}What is it?"), Turn("assistant", answer))
    record = Conversation(id=key, turns=turns, image=None if colour is None else "x.png")
    input_ids, labels = render_training(record, captioner.tokenizer, tiny.NUM_IMAGE_TOKENS)
    image = None if colour is None else captioner.geometry.prepare(Image.new("RGB", (20, 30), tiny.COLOURS[colour]))
    return Rendered(key=key, input_ids=input_ids, labels=labels, image=image)


def test_truncated_tower_equals_transformers_image_features(captioner: LoadedCaptioner) -> None:
    pixel_values = torch.randn(3, 3, tiny.IMAGE_SIZE_PX, tiny.IMAGE_SIZE_PX)
    theirs = torch.stack(list(captioner.llava.get_image_features(pixel_values).pooler_output))
    torch.testing.assert_close(image_features(captioner.llava, pixel_values), theirs)


def test_summed_loss_equals_transformers_loss_on_mixed_lengths(captioner: LoadedCaptioner) -> None:
    samples = [
        sample(captioner, "a", "Red.", "red"),
        sample(captioner, "b", "The whole image is blue, as far as one can see.", "blue"),
    ]
    batch = collate(samples, pad_id=captioner.tokenizer.pad_token_id)
    task, network = AnswerTask(), SupervisedCaptioner(captioner.llava, captioner.normaliser)
    ours = task.loss(network, batch, 0, torch.Generator()).total / task.count(batch)
    assert batch.images is not None
    theirs = captioner.llava(
        input_ids=batch.input_ids,
        attention_mask=(batch.input_ids != captioner.tokenizer.pad_token_id).long(),
        pixel_values=captioner.normaliser(batch.images),
        labels=batch.labels,
    ).loss
    torch.testing.assert_close(ours, theirs)


def test_text_only_samples_may_share_a_batch_with_pictures(captioner: LoadedCaptioner) -> None:
    samples = [
        sample(captioner, "a", "Red.", "red"),
        sample(captioner, "b", "Nothing.", None),
        sample(captioner, "c", "Blue.", "blue"),
    ]
    task, network = AnswerTask(), SupervisedCaptioner(captioner.llava, captioner.normaliser)

    def loss(chosen: list[Rendered]) -> torch.Tensor:
        batch = collate(chosen, pad_id=captioner.tokenizer.pad_token_id)
        return task.loss(network, batch, 0, torch.Generator()).total

    torch.testing.assert_close(loss(samples), sum(loss([one]) for one in samples), rtol=1e-5, atol=1e-5)


def test_only_answers_are_supervised(captioner: LoadedCaptioner) -> None:
    batch = collate([sample(captioner, "a", "Red.", "red")], pad_id=captioner.tokenizer.pad_token_id)
    supervised = batch.labels[batch.labels != -100].tolist()
    assert captioner.tokenizer.decode(supervised) == "Red.<|eot_id|>"
    assert AnswerTask().count(batch) == len(supervised)


def test_batch_of_nothing_counts_nothing_and_has_a_gradient(captioner: LoadedCaptioner) -> None:
    batch = collate([], pad_id=0)
    network = SupervisedCaptioner(captioner.llava, captioner.normaliser)
    assert AnswerTask().count(batch) == 0
    assert cross_entropy(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), reduction="sum") == 0
    total = AnswerTask().loss(network, batch, 0, torch.Generator()).total
    assert total == 0
    total.backward()
