"""The held-out loss: an average over what is counted, in evaluation mode, that leaves training as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.heldout import Heldout
from runtime.loop import fit
from runtime.metrics import JsonLines
from runtime.run import METRICS_FILE, Run
from tests.runtime.toys import TokenTask, ToyModel, ToySource, loop_config


def train(folder: Path, heldout: Heldout | None, **changes: Any) -> ToyModel:
    config = loop_config(num_updates=5, ema_decay=None, **changes)
    torch.manual_seed(1)
    model = ToyModel()
    model.logit_scale.requires_grad_(False)
    fit(
        task=TokenTask(),
        model=model,
        source=ToySource(8, None),
        config=config,
        run=Run.open(folder, config),
        seed=7,
        heldout=heldout,
    )
    return model


def heldout_rows(folder: Path) -> list[dict[str, Any]]:
    return [row for row in JsonLines(folder / METRICS_FILE).rows() if "heldout_loss" in row]


def test_it_is_the_mean_over_all_counted_terms(tmp_path: Path) -> None:
    source = ToySource(8, None)
    parts = [source.batch(range(3)), source.batch(range(3, 8))]
    model = train(tmp_path, Heldout(microbatches=parts, every_updates=2))
    rows = heldout_rows(tmp_path)
    assert [row["update"] for row in rows] == [2, 4, 5]
    whole = source.batch(range(8))
    model.eval()  # dropout off, as while measuring
    with torch.no_grad():
        sums = TokenTask().loss(model, whole, 0, torch.Generator())
    assert rows[-1]["heldout_loss"] == pytest.approx(float(sums.total) / TokenTask().count(whole), rel=1e-6)
    assert "heldout_absolute_error" in rows[-1]


def test_measuring_changes_no_weight(tmp_path: Path) -> None:
    heldout = Heldout(microbatches=[ToySource(8, None).batch(range(8))], every_updates=1)
    models = train(tmp_path / "with", heldout), train(tmp_path / "without", None)
    torch.testing.assert_close(*(dict(model.state_dict()) for model in models), rtol=0, atol=0)
