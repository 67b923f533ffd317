"""The training network against transformers' own forward pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import Conversation, Turn
from llava_train.batch import ConversationBatch, collate
from llava_train.batch import RenderedSample as Rendered
from llava_train.model import LoadedCaptioner, load_captioner
from llava_train.network import SupervisedCaptioner, image_features
from llava_train.task import AnswerTask
from runtime import launch
from runtime.loop import LoopConfig, fit
from runtime.run import Run
from tests.fakes import run_distributed
from tests.llava_train import tiny


@pytest.fixture(scope="module")
def captioner(export: Path) -> LoadedCaptioner:
    return load_captioner(export, device="cpu", precision=torch.float32)


def sample(captioner: LoadedCaptioner, key: str, answer: str, colour: str | None) -> Rendered:
    mark = "" if colour is None else "<image>\n"
    turns = (Turn("user", f"{mark}What is it?"), Turn("assistant", answer))
    record = Conversation(id=key, turns=turns, image=None if colour is None else "x.png")
    input_ids, labels = ConversationRenderer(captioner.tokenizer, num_image_tokens=tiny.NUM_IMAGE_TOKENS)(record)
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


def modules_run(network: SupervisedCaptioner, samples: list[Rendered]) -> list[str]:
    """Return the names of the modules that a forward pass calls, in order."""
    names: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: names.append(name))
        for name, module in network.named_modules()
    ]
    batch = collate(samples, pad_id=0)
    AnswerTask().loss(network, batch, 0, torch.Generator())
    for hook in hooks:
        hook.remove()
    return names


def test_all_ranks_run_the_same_modules_whatever_samples_they_have(
    captioner: LoadedCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = SupervisedCaptioner(captioner.llava, captioner.normaliser)
    with_image = sample(captioner, "a", "Red.", "red")
    text_only = sample(captioner, "b", "Nothing.", None)
    alone = modules_run(network, [text_only])
    monkeypatch.setattr(launch, "world_size", lambda: 2)
    wanted = modules_run(network, [with_image, text_only])
    assert any("vision_tower" in name for name in wanted) and not any("vision_tower" in name for name in alone)
    for samples in ([with_image], [text_only], []):
        assert modules_run(network, samples) == wanted


def test_a_blank_image_changes_neither_loss_nor_gradient(
    captioner: LoadedCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = SupervisedCaptioner(captioner.llava, captioner.normaliser)
    batch = collate([sample(captioner, "b", "Nothing.", None)], pad_id=0)
    found = []
    for num_processes in (1, 2):
        monkeypatch.setattr(launch, "world_size", lambda num=num_processes: num)
        network.zero_grad()
        total = AnswerTask().loss(network, batch, 0, torch.Generator()).total
        total.backward()
        found.append({"loss": total.detach(), **{name: p.grad for name, p in network.named_parameters()}})
    one, two = found
    # None for the tower's last layer, which nobody reads, in both.
    assert {name for name, value in one.items() if value is None} == {n for n, value in two.items() if value is None}
    assert all(value is None or torch.equal(value, two[name]) for name, value in one.items())
    projector = [value for name, value in one.items() if "multi_modal_projector" in name]
    assert projector and all(value is not None and not value.any() for value in projector)


class FewUpdates:
    """Three updates of two microbatches; of several ranks each takes one (a `runtime.source.BatchSource`)."""

    def __init__(self, microbatches: list[list[ConversationBatch]]):
        self._microbatches = microbatches

    def updates(self, start_update: int, *, rank: int, world_size: int) -> Iterator[list[ConversationBatch]]:
        for both in self._microbatches[start_update:]:
            yield both if world_size == 1 else [both[rank]]

    def fingerprint(self) -> str:
        return "three updates"

    def audit(self) -> dict[str, object]:
        return {}


def train_on_unequal_ranks(rank: int, export: Path, folder: Path) -> dict[str, torch.Tensor]:
    loaded = load_captioner(export, device="cpu", precision=torch.float32)
    with_image = sample(loaded, "a", "The whole image is red.", "red")
    text_only, other_text = sample(loaded, "b", "Nothing.", None), sample(loaded, "c", "Nothing at all.", None)
    samples = [[[with_image], [text_only]], [[text_only], [other_text]], [[], [with_image]]]
    source = FewUpdates([[collate(microbatch, pad_id=0) for microbatch in both] for both in samples])
    config = LoopConfig(
        num_updates=3, batch_size=2, microbatch_size=1, learning_rate=1e-3, device="cpu", wandb="off", epsilon=1e-4
    )
    fit(
        task=AnswerTask(),
        model=SupervisedCaptioner(loaded.llava, loaded.normaliser),
        source=source,
        config=config,
        run=Run.open(folder, config),
        seed=0,
    )
    return dict(loaded.llava.state_dict())


@pytest.mark.slow
def test_ranks_of_which_one_has_only_text_end_as_one_process(export: Path, tmp_path: Path) -> None:
    before = load_captioner(export, device="cpu", precision=torch.float32).llava.state_dict()
    one = train_on_unequal_ranks(0, export, tmp_path / "one")
    first, second = run_distributed(train_on_unequal_ranks, 2, export, tmp_path / "two")
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    # Ranks add gradients in another order than microbatches do; epsilon keeps Adam from blowing rounding up.
    torch.testing.assert_close(first, one, rtol=1e-4, atol=1e-5)
    moved = max(float((one[name] - before[name]).abs().max()) for name in one if "multi_modal_projector" in name)
    assert moved > 1e-3
