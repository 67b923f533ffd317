"""The output layer's loss in chunks against all logits at once."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llava_train import head
from llava_train.head import AnswerHead

WIDTH, VOCABULARY, NUM_TOKENS = 16, 50, 23


class LargestTensor(TorchDispatchMode):
    """Note the most elements of any tensor that is made meanwhile."""

    num_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        self.num_elements = max([self.num_elements, *sizes])
        return made


def problem() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    output = nn.Linear(WIDTH, VOCABULARY, bias=False)
    return output, torch.randn(NUM_TOKENS, WIDTH, requires_grad=True), torch.randint(0, VOCABULARY, (NUM_TOKENS,))


def chunks_of(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK_LOGITS", tokens * VOCABULARY)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 22, 23, 100])
def test_chunks_have_the_loss_and_gradients_of_all_logits(monkeypatch: pytest.MonkeyPatch, chunk_tokens: int) -> None:
    output, hidden, targets = problem()
    logits = output(hidden)
    whole = cross_entropy(logits, targets, reduction="sum")
    wanted = torch.autograd.grad(whole / 7, [hidden, output.weight])
    chunks_of(chunk_tokens, monkeypatch)
    sums = AnswerHead.around(output)(hidden, targets)
    torch.testing.assert_close(sums.loss, whole)
    assert int(sums.num_correct) == int((logits.argmax(-1) == targets).sum())
    torch.testing.assert_close(torch.autograd.grad(sums.loss / 7, [hidden, output.weight]), wanted)


def test_one_chunk_is_bit_identical_to_all_logits() -> None:
    output, hidden, targets = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = cross_entropy(output(hidden).float(), targets, reduction="sum")
        sums = AnswerHead.around(output)(hidden, targets)
    assert torch.equal(whole, sums.loss)
    ours, theirs = (torch.autograd.grad(loss / 7, [hidden, output.weight]) for loss in (sums.loss, whole))
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_no_more_than_one_chunk_of_logits_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, targets = problem()
    at_once, in_chunks = LargestTensor(), LargestTensor()
    with at_once:
        AnswerHead.around(output)(hidden, targets).loss.backward()
    chunks_of(4, monkeypatch)
    with in_chunks:
        AnswerHead.around(output)(hidden, targets).loss.backward()
    assert at_once.num_elements == NUM_TOKENS * VOCABULARY
    # Nothing is larger than the layer's weights.
    assert in_chunks.num_elements == WIDTH * VOCABULARY


def test_low_precision_chunks_sum_the_weights_gradient_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, targets = problem()
    reference = torch.autograd.grad(cross_entropy(output(hidden), targets, reduction="sum"), output.weight)[0]
    errors = {}
    for tokens in (NUM_TOKENS, 1):
        chunks_of(tokens, monkeypatch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = AnswerHead.around(output)(hidden, targets).loss
        gradient = torch.autograd.grad(loss, output.weight)[0]
        assert gradient.dtype == torch.float32
        errors[tokens] = float((gradient - reference).norm() / reference.norm())
    # 23 chunks summed in bfloat16 would lose several times what one matrix product rounds away.
    assert errors[1] < 1.5 * errors[NUM_TOKENS]


def test_without_targets_it_is_the_layer_itself() -> None:
    output, hidden, _ = problem()
    answer_head = AnswerHead.around(output)
    assert torch.equal(answer_head(hidden), output(hidden))
    assert answer_head.weight is output.weight
    assert list(answer_head.state_dict()) == ["weight"]


def test_nothing_asked_is_zero_with_a_gradient() -> None:
    output, hidden, targets = problem()
    sums = AnswerHead.around(output)(hidden[:0], targets[:0])
    assert sums.loss == 0 and sums.num_correct == 0
    sums.loss.backward()
    assert output.weight.grad is not None and not output.weight.grad.any()


def test_layers_of_another_kind_are_not_taken_for_plain_ones() -> None:
    with pytest.raises(AssertionError, match="no plain output layer: Sequential"):
        AnswerHead.around(nn.Sequential())
