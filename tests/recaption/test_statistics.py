"""The statistics of a run: known answers, what is drawn, and scores that keep their names."""

import json
from pathlib import Path

import numpy as np
import pytest

from imagetext.sidecars import write_sidecar
from imagetext.vocabulary import vocabulary_shares
from recaption.__main__ import main
from recaption.job.reopening import finished_of
from recaption.statistics.config import StatisticsConfig
from recaption.statistics.measuring import RECORDED, measure
from recaption.statistics.pair_scores import score_pairs
from runtime.errors import UserError
from runtime.intervals import mean_interval, ratio_interval, share_interval


def row(key: str, old: str | None, new: str | None, **fields: object) -> dict[str, object]:
    status = "success" if new is not None else "failed_to_decode"
    return {"key": key, "org_caption": old, "re_caption": new, "status": status, **fields}


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    first = [
        row("0", "red boat", "A red boat on a lake.", org_clip_score=0.2, re_clip_score=0.4),
        row("1", "DSC 0012.jpg", "A boat.", org_clip_score=0.3, re_clip_score=0.3),
        row("2", "never captioned", None),
    ]
    write_sidecar(folder, "00000", first)
    write_sidecar(folder, "00001", [row("3", None, "A tree."), row("4", "tree house", "A tree. A tree. A tree.")])
    return folder


def test_known_answers(captions: Path) -> None:
    found = measure(StatisticsConfig(recaptions=captions))
    assert (found.num_units_read, found.num_rows, found.num_pairs) == (2, 5, 3)
    assert found.old.mean_words.value == 2.0 and found.new.mean_words.value == pytest.approx(14 / 3)
    # old: red boat dsc jpg tree house; new: a red boat on lake tree. Nine words in all.
    assert found.old.num_distinct_words == 6 and found.new.num_distinct_words == 6
    assert found.old.vocabulary_share.value == pytest.approx(6 / 9) == found.new.vocabulary_share.value
    assert found.new.commonest_words["a"] == pytest.approx(6 / 14)
    assert found.new.distinct_ngram_shares[3] == pytest.approx(6 / 8)
    assert found.new.length_shares == [1.0]


def test_recorded_scores_and_their_three_names(captions: Path) -> None:
    scores = measure(StatisticsConfig(recaptions=captions)).scores[RECORDED]
    assert scores.num_pairs == 2 and scores.new_cosine.value == pytest.approx(0.35)
    assert scores.new_win_share.value == 0.75
    assert scores.new_softmax_share.value == pytest.approx((1 + 0.5) / 2, abs=1e-6)


def test_rows_are_drawn_alike_and_bounded(captions: Path) -> None:
    few = [measure(StatisticsConfig(recaptions=captions, rows_max=2, seed=seed)) for seed in (3, 3)]
    assert few[0] == few[1] and few[0].num_rows == 2 and few[0].num_units_read == 1


def test_page_and_record(captions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recaption", "statistics", str(captions)])
    main()
    page = capsys.readouterr().out
    written = captions / "job" / "statistics"
    assert (written / "statistics.md").read_text() in page
    record = json.loads((written / "statistics.json").read_text())
    assert record["num_pairs"] == 3 and record["scores"][RECORDED]["new_win_share"]["value"] == 0.75
    # The paper's numbers stand in a table of their own.
    headers = [line for line in page.splitlines() if line.startswith("|") and "old" in line]
    assert not any("arXiv" in line for line in headers) and "49.43" in page


def test_bad_input(captions: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sidecar has no such column: found re_caption_short"):
        measure(StatisticsConfig(recaptions=captions, column="re_caption_short"))
    with pytest.raises(UserError, match="no finished captions"):
        finished_of(tmp_path / "nowhere")
    write_sidecar(tmp_path / "empty", "00000", [row("0", None, "A boat.")])
    with pytest.raises(UserError, match="nothing to compare: found none of 1 rows"):
        measure(StatisticsConfig(recaptions=tmp_path / "empty"))
    with pytest.raises(UserError, match="rows_max: out of range"):
        StatisticsConfig(recaptions=captions, rows_max=0)


@pytest.mark.parametrize("scale", [1.0, 17.5, 100.0])
def test_a_pair_of_equal_captions_is_undecided(scale: float) -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, 20)
    scores = score_pairs(cosines, cosines, scale)
    assert scores.new_win_share.value == 0.5 == scores.new_softmax_share.value
    other = score_pairs(cosines, cosines[::-1].copy(), scale)
    swapped = score_pairs(cosines[::-1].copy(), cosines, scale)
    assert other.new_softmax_share.value == pytest.approx(1 - swapped.new_softmax_share.value)


def test_intervals_hold_what_they_should() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        sizes = generator.integers(1, 20, 60)
        hits = generator.binomial(sizes, 0.3)
        interval = ratio_interval(hits.astype(np.float64), sizes.astype(np.float64))
        inside += interval.low <= 0.3 <= interval.high
    # Binomial with p = 0.95 and n = 400: 99.9 % of draws are above 365.
    assert inside >= 365
    assert share_interval(0, 30).high == pytest.approx(0.1135, abs=1e-4) and share_interval(0, 30).low == 0
    assert mean_interval(np.array([2.0])).high == float("inf")


def test_groups_of_one_caption_are_captions() -> None:
    first, second = ["red boat", "a house"], ["a red boat", "a big house"]
    shares = vocabulary_shares(first, second, 50)
    assert shares[0].value == pytest.approx(4 / 5) and shares[1].value == 1.0
