"""Two ranks under fully sharded weights, one with pictures and many answers, one with a short text or with nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from llava_train import head
from llava_train.attention import LEAN
from llava_train.batch import ConversationBatch, RenderedSample, collate
from llava_train.network import SupervisedCaptioner
from llava_train.recompute import recompute_blocks
from llava_train.task import AnswerTask
from tests.fakes import run_distributed
from tests.llava_train.test_packed_rows import ROW_TOKENS, conversations, load

NUM_RANKS = 2
CHUNK_TOKENS = 7


def microbatches(image_token: int, second: str) -> list[ConversationBatch]:
    """Return one packed microbatch for each rank."""
    samples = conversations(image_token, [30, 25, 12])
    text_only = [sample for sample in samples if sample.image is None]
    assert len(text_only) == 1
    ranks: list[list[RenderedSample]] = [samples[:2], text_only if second == "text" else []]
    return [collate(rank, pad_id=0, max_row_tokens=ROW_TOKENS) for rank in ranks]


def captioner_in_chunks(export: Path) -> SupervisedCaptioner:
    captioner = load(export, LEAN)
    head.CHUNK_LOGITS = CHUNK_TOKENS * captioner.llava.lm_head.out_features
    recompute_blocks(captioner.llava, True)
    return captioner


def sharded_gradients(rank: int, export: Path, second: str) -> dict[str, Tensor]:
    captioner = captioner_in_chunks(export)
    mesh = init_device_mesh("cpu", (NUM_RANKS,))
    for block in captioner.llava.model.language_model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(captioner, mesh=mesh)
    batch = microbatches(captioner.llava.config.image_token_id, second)[rank]
    sums = AnswerTask().loss(captioner, batch, 0, torch.Generator())
    sums.total.backward()
    # Fully sharded weights get the mean of the ranks' gradients.
    gradients = {n: NUM_RANKS * p.grad.full_tensor() for n, p in captioner.named_parameters() if p.grad is not None}
    return {"loss": sums.total.detach(), **gradients}


@pytest.mark.slow
@pytest.mark.parametrize("second", ["text", "nothing"])
def test_unequal_ranks_neither_hang_nor_drift(export: Path, second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK_LOGITS", head.CHUNK_LOGITS)
    captioner = captioner_in_chunks(export)
    alone = microbatches(captioner.llava.config.image_token_id, second)
    counts = [AnswerTask().count(batch) for batch in alone]
    assert counts[0] > 2 * CHUNK_TOKENS >= counts[1], "the ranks need unequally many chunks"
    losses = []
    for batch in alone:
        total = AnswerTask().loss(captioner, batch, 0, torch.Generator()).total
        total.backward()
        losses.append(total.detach())
    wanted = {name: weight.grad for name, weight in captioner.named_parameters() if weight.grad is not None}
    ranks = run_distributed(sharded_gradients, NUM_RANKS, export, second)
    torch.testing.assert_close([rank.pop("loss") for rank in ranks], losses, rtol=1e-5, atol=1e-5)
    for rank in ranks:
        torch.testing.assert_close(rank, wanted, rtol=1e-4, atol=1e-5)
