"""The share of originals that holds for a sample: by schedule, data set and scores."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetext.mix import CaptionMix, CaptionMixConfig, ScoreShareConfig
from imagetext.samples import CaptionScores
from imagetext.share import OriginalShare, share_of_scores
from runtime.errors import UserError

CAPTIONS = {"original": "boat", "recaption": "A red boat. It floats."}


def test_a_schedule_over_updates_changes_at_their_first_sample() -> None:
    config = CaptionMixConfig(original_share=0.2, share_changes={3: 0.6, 5: 1.0}, share_changes_unit="updates")
    share = OriginalShare(config, batch_size=10)
    assert [share.at(position) for position in (0, 29, 30, 49, 50, 1000)] == [0.2, 0.2, 0.6, 0.6, 1.0, 1.0]
    samples = OriginalShare(CaptionMixConfig(original_share=0.2, share_changes={30: 0.6, 50: 1.0}))
    assert [samples.at(position) for position in range(80)] == [share.at(position) for position in range(80)]


def test_a_linear_course_is_a_straight_line_and_the_same_for_all_samples_of_an_update() -> None:
    config = CaptionMixConfig(
        original_share=0.2, share_changes={4: 1.0, 6: 0.5}, share_changes_unit="updates", share_course="linear"
    )
    share = OriginalShare(config, batch_size=8)
    by_update = [[share.at(8 * update + row) for row in range(8)] for update in range(9)]
    assert all(len(set(shares)) == 1 for shares in by_update)
    expected = [0.2, 0.4, 0.6, 0.8, 1.0, 0.75, 0.5, 0.5, 0.5]
    assert [shares[0] for shares in by_update] == pytest.approx(expected)


def test_updates_are_not_guessed() -> None:
    config = CaptionMixConfig(share_changes={3: 0.6}, share_changes_unit="updates")
    with pytest.raises(UserError, match=r"share_changes_unit: updates are not known here: found \{3: 0.6\}"):
        CaptionMix(config, 0)


def test_data_sets_have_shares_of_their_own_and_no_schedule() -> None:
    config = CaptionMixConfig(
        original_share=0.0, share_changes={100: 1.0}, dataset_shares={"clean": 1.0, "clean/new": 0.25}
    )
    share = OriginalShare(config)
    assert [share.of("web/7", position) for position in (0, 100)] == [0.0, 1.0]
    assert [share.of("clean/7", position) for position in (0, 100)] == [1.0, 1.0]
    assert share.of("cleaner/7", 0) == 0.0


def test_realised_shares_of_two_data_sets_are_each_its_own() -> None:
    """Four standard deviations of 5,000 draws are at most 0.03."""
    mix = CaptionMix(CaptionMixConfig(original_share=0.8, dataset_shares={"other": 0.3}), 0)
    for name, wanted in (("web", 0.8), ("other", 0.3)):
        drawn = [mix.choose(CAPTIONS, f"{name}/{index}", 0, index).source for index in range(5000)]
        assert abs(drawn.count("original") / 5000 - wanted) <= 0.03


def test_scores_map_to_the_declared_share() -> None:
    config = ScoreShareConfig(temperature=0.05, even_difference=0.1, lowest_share=0.2, highest_share=0.9)
    assert share_of_scores(config, CaptionScores(recaption=0.2, original=0.3)) == pytest.approx(0.55)
    found = share_of_scores(config, CaptionScores(recaption=0.1, original=0.3))
    assert found == pytest.approx(0.2 + 0.7 / (1 + math.exp(-2)))
    assert share_of_scores(config, CaptionScores(recaption=1.0, original=-1.0)) == pytest.approx(0.2)
    assert share_of_scores(config, CaptionScores(recaption=-1e9, original=1e9)) == pytest.approx(0.9)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(1e-3, 1))
def test_a_better_original_is_seen_more_often(first: float, second: float, temperature: float) -> None:
    config = ScoreShareConfig(temperature=temperature)
    low, high = sorted((first, second))
    shares = [share_of_scores(config, CaptionScores(recaption=0.0, original=one)) for one in (low, high)]
    assert 0.0 <= shares[0] <= shares[1] <= 1.0


def test_samples_draw_by_their_scores_and_those_without_by_the_share() -> None:
    config = CaptionMixConfig(original_share=0.0, score_share=ScoreShareConfig(temperature=1e-3))
    mix = CaptionMix(config, 0)
    scores = {"better": CaptionScores(0.2, 0.4), "worse": CaptionScores(0.4, 0.2), "none": None}
    drawn = {
        name: {mix.choose(CAPTIONS, f"web/{index}", 0, index, one).source for index in range(200)}
        for name, one in scores.items()
    }
    assert drawn == {"better": {"original"}, "worse": {"recaption"}, "none": {"recaption"}}
    half = CaptionMix(CaptionMixConfig(score_share=ScoreShareConfig(temperature=1.0)), 0)
    even = [half.choose(CAPTIONS, f"web/{i}", 0, i, CaptionScores(0.3, 0.3)).source for i in range(5000)]
    assert abs(even.count("original") / 5000 - 0.5) <= 0.03


def test_every_image_is_seen_with_the_further_recipes_too() -> None:
    config = CaptionMixConfig(
        original_share=0.5, also=["recaption_random_sentence", "recaption_random_sentence", "original"]
    )
    mix = CaptionMix(config, 3)
    for index in range(50):
        first, *further = mix.choose_all(CAPTIONS, f"web/{index}", 0, index)
        assert first == mix.choose(CAPTIONS, f"web/{index}", 0, index)
        assert {one.text for one in further[:2]} == {"A red boat.", "It floats."}
        assert (further[2].text, further[2].source) == ("boat", "original")
    assert config.required_sources == ("original", "recaption")
    assert config.recipes == ("original", "recaption", "recaption_random_sentence")


def test_a_further_caption_that_is_not_there_is_stood_in_for() -> None:
    mix = CaptionMix(CaptionMixConfig(also=["recaption"]), 0)
    found = mix.choose_all({"original": "boat"}, "web/0", 0, 0)
    assert [(one.text, one.source, one.fallback) for one in found] == [
        ("boat", "original", False), ("boat", "original", True),
    ]  # fmt: skip
    first = CaptionMix(CaptionMixConfig(original_share=0.0, also=["original"]), 0)
    assert first.choose_all({"recaption": "A boat."}, "web/0", 0, 0)[1].text == "A boat."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share_changes_unit": "updates"}, r"share_changes_unit is of no use: found updates, wanted share_changes"),
        ({"share_course": "linear"}, r"share_course is of no use: found linear, wanted share_changes beside it"),
        (
            {"share_changes": {0: 0.5}, "share_course": "linear"},
            r"share_changes has a place 0: found 0.5\. Set original_share to it",
        ),
        ({"dataset_shares": {"web": 1.1}}, r"dataset_shares\.web is out of range: found 1\.1, wanted a share"),
        (
            {"also": ["recaption", "recaption"]},
            r"also names a recipe twice: found recaption, wanted each recipe once, but for recaption_random_sentence",
        ),
    ],
)
def test_bad_schedules_and_groups_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CaptionMixConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, r"temperature: out of range: found 0\.0, wanted more than 0"),
        ({"temperature": 0.1, "lowest_share": -0.1}, r"lowest_share is out of range: found -0\.1"),
        (
            {"temperature": 0.1, "lowest_share": 0.6, "highest_share": 0.4},
            r"lowest_share is above highest_share: found 0\.6 above 0\.4",
        ),
    ],
)
def test_bad_score_shares_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoreShareConfig(**fields)
