"""Flags are raised where a fault was planted and not where one only seems to be; cleaning takes out and never adds."""

import re

import pytest

from benchmarks import caption_flags
from benchmarks.planted_captions import HARD_NEGATIVES, PLANTS, Planted, planted_captions
from imagetext.caption_flags.cleaning import clean_caption
from imagetext.caption_flags.finding import defects_among, find_flags, find_shared, in_order
from imagetext.caption_flags.names import BLEMISHES, DEFECTS, FLAGS
from imagetext.caption_flags.repetition import repeated_share, tail_period
from imagetext.statistics import split_words


@pytest.fixture(scope="module")
def captions() -> list[Planted]:
    return planted_captions(40)


def test_precision_and_recall_of_every_flag_on_planted_captions(captions: list[Planted]) -> None:
    scores = caption_flags.score(captions)
    print(caption_flags.as_table(scores))
    assert [score.flag for score in scores] == list(PLANTS)
    # What a caption raises by itself, and leaks; what many rows share, and what repair did, are told elsewhere.
    assert set(FLAGS) - set(PLANTS) == {"same_as_many", "condition_dropped"}
    for score in scores:
        assert score.num_planted >= 40
        assert score.precision >= 0.99 and score.recall >= 0.99, score


@pytest.mark.parametrize("caption", HARD_NEGATIVES)
def test_what_only_seems_to_be_a_fault_raises_nothing(caption: str) -> None:
    assert find_flags(caption, finish_reason="stop") == ()
    assert clean_caption(caption, ()) == caption


def test_every_flag_is_a_defect_or_a_blemish() -> None:
    assert set(FLAGS) == set(DEFECTS) | set(BLEMISHES) and not set(DEFECTS) & set(BLEMISHES)
    assert defects_among(("cut_off", "boilerplate_opening")) == ("cut_off",)
    assert in_order({"same_as_many", "empty", "another"}) == ["empty", "same_as_many", "another"]


def test_without_a_finish_reason_words_tell_what_was_cut_off() -> None:
    assert find_flags("A red bird with a long tail sits on a") == ("cut_off",)
    assert find_flags("A red bird with a long tail sits on a", finish_reason="stop") == ()
    assert find_flags("Sunset over Lisbon") == ()


def test_scripts_are_told_apart_and_the_wanted_one_may_be_another() -> None:
    russian = "Красная машина стоит у дома."
    assert find_flags(russian) == ("wrong_script",)
    assert find_flags(russian, script="CYRILLIC") == ()


def test_loops_are_told_by_their_period() -> None:
    assert tail_period([*"abcdefcdefcdef"]) == 4
    assert tail_period(["very"] * 3) is None
    assert tail_period(["no"] * 8) == 1
    assert repeated_share([*"abcd"]) == 0.0


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("The image shows two birds. There is no text visible.", "Two birds."),
        ("A dog runs. Overall, the image conveys joy.", "A dog runs."),
        ("The background is a meadow and there is nothing else in the image.", "The background is a meadow."),
        ("Caption: A dog on a lawn.<|eot_id|>", "A dog on a lawn."),
        ("A dog runs. A cat sits. A cat sits. A cat sits. A cat sits.", "A dog runs. A cat sits."),
        ("I cannot help with that.", None),
        ("", None),
    ],
)
def test_cleaned_captions(raw: str, cleaned: str | None) -> None:
    assert clean_caption(raw, find_flags(raw, finish_reason="stop")) == cleaned


def test_a_cut_off_caption_ends_with_its_last_whole_sentence() -> None:
    assert clean_caption("A dog runs. A cat sits on a", ("cut_off",)) == "A dog runs."
    assert clean_caption("A dog that runs on a", ("cut_off",)) == "A dog that runs on a"


def test_cleaning_adds_no_word_and_leaves_sound_captions_alone(captions: list[Planted]) -> None:
    for caption in captions:
        flags = find_flags(caption.text, finish_reason=caption.finish_reason)
        cleaned = clean_caption(caption.text, flags)
        plain = re.sub(r"<[^<>]*>|\W", " ", caption.text)
        if cleaned is not None:
            assert set(split_words(cleaned)) <= set(split_words(plain)) | set(split_words(caption.text)), caption
        if not caption.planted:
            assert cleaned == caption.text


def test_captions_that_many_pictures_share_are_found_and_one_picture_counts_once() -> None:
    texts = ["A tent."] * 5 + ["a tent"] + ["A boat."] * 4 + [None, "A car."]
    pictures = [f"picture {index}" for index in range(len(texts))]
    assert find_shared(texts, pictures) == [True] * 6 + [False] * 6
    assert find_shared(["A tent."] * 9, ["one"] * 9) == [False] * 9
    # One caption in a hundred, of a thousand.
    many = [f"A boat {index}." for index in range(991)] + ["A tent."] * 9
    assert not any(find_shared(many, [str(index) for index in range(1000)]))
