"""The measurement of the contrastive loss does what its page says."""

import json

import pytest

from benchmarks import contrastive_loss
from benchmarks.own_process import MIB, Took


def test_contrastive_loss_measures_each_way_against_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def run_way(module: str, *arguments: object) -> Took:
        asked.append(arguments)
        peak = (100 if str(arguments[0]).startswith("features") else 164) * MIB
        return Took(seconds=2.0, cpu_seconds=1.0, peak_bytes=peak, num_items=1)

    monkeypatch.setattr(contrastive_loss, "run_way", run_way)
    measured = contrastive_loss.measure(contrastive_loss.SIZES["tiny"], repeats=1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in measured.splitlines() if line[:1] == "|"][2:]
    assert [row[:2] for row in rows] == [
        ["softmax", "64"], ["open_clip softmax", "64"], ["sigmoid", "64"], ["open_clip sigmoid", "64"],
        ["softmax", "96"], ["sigmoid", "96"], ["two captions", "48"],
    ]  # fmt: skip
    assert {tuple(row[2:]) for row in rows} == {("2.0", "1.0", "64")}
    assert asked[0] == ("softmax", 64, 16, 64) and asked[1] == ("features of softmax", 64, 16, 64)


@pytest.mark.parametrize("way", ["softmax", "sigmoid", "two captions", "open_clip softmax", "open_clip sigmoid"])
def test_contrastive_loss_computes_what_it_names(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    contrastive_loss.work(way, 12, 8, 12)
    assert json.loads(capsys.readouterr().out)["num_items"] == 12
