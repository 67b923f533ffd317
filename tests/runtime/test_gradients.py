"""Gradients of an update do not depend on how it was cut, and equal plain autograd's."""

import pytest
import torch

from runtime.engine import Engine
from runtime.errors import UserError
from runtime.gradients import compute_gradients
from runtime.task import CoupledTask, Task
from tests.runtime.toys import TASKS, ContrastiveTask, ToyModel, ToySource, loop_config


def quiet_model() -> ToyModel:
    """A model without dropout: its noise depends on the microbatch, as it must."""
    torch.manual_seed(1)
    model = ToyModel()
    model.body[2] = torch.nn.Identity()
    return model


def gradients(task, model, microbatches) -> tuple[dict[str, torch.Tensor], float]:
    engine = Engine(task, model, loop_config(device="cpu"))
    sums = compute_gradients(engine, task, microbatches, seed=7, step=0, batch_size=8)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found, float(sum(sums.totals) / sums.count)


@pytest.mark.parametrize("sizes", [[8], [4, 4], [2, 2, 2, 2], [5, 3], [1, 6, 1]], ids=str)
def test_coupled_gradients_are_exact_including_the_logit_scale(sizes):
    """Each part sees the same noise as in one pass: drawn for the row, not for the part."""
    source = ToySource(8, None)
    whole = source.batch(range(8))
    noise = 0.3 * torch.randn(8, 6)
    by_key = dict(zip(whole.keys, noise))

    class RowNoise(ContrastiveTask):
        def features(self, model, batch, step, generator):
            rows = batch.rows + torch.stack([by_key[key] for key in batch.keys])
            normalise = torch.nn.functional.normalize
            return {
                "first": normalise(model(batch.rows), dim=-1),
                "second": normalise(model(rows), dim=-1),
                "logit_scale": model.logit_scale.exp(),
            }

    task, reference = RowNoise(), quiet_model()
    features = task.features(reference, whole, 0, torch.Generator())
    loss = task.coupled_loss(features, 0, slice(0, 8)).total / 8
    loss.backward()
    wanted = {name: p.grad for name, p in reference.named_parameters()}
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = [source.batch(range(start, start + size)) for start, size in zip(starts, sizes)]
    found, value = gradients(task, quiet_model(), parts)
    assert "logit_scale" in found
    # One float32 sum in another order; the gradients are of order one.
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert value == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("sizes", [[8], [4, 4], [5, 3]], ids=str)
def test_token_gradients_divide_once_by_the_count_of_all_microbatches(sizes):
    source = ToySource(8, None)
    whole, reference = source.batch(range(8)), quiet_model()
    total = TASKS["token"]().loss(reference, whole, 0, torch.Generator()).total
    (total / whole.lengths.sum()).backward()
    wanted = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = [source.batch(range(start, start + size)) for start, size in zip(starts, sizes)]
    found, _ = gradients(TASKS["token"](), quiet_model(), parts)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_an_update_that_counts_nothing_is_refused():
    batch = ToySource(8, None).batch(range(8))
    batch.lengths.zero_()
    with pytest.raises(UserError, match="update 0: no sample of this update counts towards the loss: found 0"):
        gradients(TASKS["token"](), quiet_model(), [batch])


def test_bfloat16_stays_near_float32_and_keeps_float32_gradients():
    found = {}
    for precision in ("fp32", "bf16"):
        task, model = TASKS["contrastive"](), quiet_model()
        engine = Engine(task, model, loop_config(device="cpu", precision=precision))
        compute_gradients(engine, task, [ToySource(8, None).batch(range(8))], seed=7, step=0, batch_size=8)
        found[precision] = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found[precision].dtype == torch.float32
    difference = (found["bf16"] - found["fp32"]).norm() / found["fp32"].norm()
    # bfloat16 has eight bits of mantissa; equality would mean that autocast was off.
    assert 0 < difference < 0.05


def test_protocols_tell_the_two_kinds_of_tasks_apart():
    assert isinstance(TASKS["token"](), Task) and not isinstance(TASKS["token"](), CoupledTask)
    assert isinstance(TASKS["contrastive"](), CoupledTask) and not isinstance(TASKS["contrastive"](), Task)
