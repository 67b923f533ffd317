"""The mix: shares, nesting, recipes, fallbacks, refusals."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetext.mix import CaptionMix, CaptionMixConfig, Choice, check_sources, split_sentences
from runtime.errors import UserError

CAPTIONS = {"original": "boat", "recaption": "A red boat. It floats! Is it old? Yes."}


def sources(mix: CaptionMix, count: int, epoch: int = 0) -> list[str]:
    return [mix.choose(CAPTIONS, f"web/{i}", epoch, i).source for i in range(count)]


def mix(share: float, seed: int = 0, **others: float) -> CaptionMix:
    return CaptionMix(CaptionMixConfig(original_share=share, others=others or {"recaption": 1.0}), seed)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_realised_share_is_the_share_of_originals(share: float) -> None:
    """Four standard deviations of 10,000 draws are at most 0.02."""
    assert abs(sources(mix(share), 10_000).count("original") / 10_000 - share) <= 0.02


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5), st.integers(0, 3))
def test_shares_nest(first: float, second: float, seed: int, epoch: int) -> None:
    low, high = sorted((first, second))
    originals_low = {i for i, s in enumerate(sources(mix(low, seed), 20, epoch)) if s == "original"}
    originals_high = {i for i, s in enumerate(sources(mix(high, seed), 20, epoch)) if s == "original"}
    assert originals_low <= originals_high


def test_choice_depends_on_seed_epoch_and_key_and_nothing_else() -> None:
    first = sources(mix(0.5), 200)
    assert sources(mix(0.5), 200) == first
    assert sources(mix(0.5, seed=1), 200) != first
    assert sources(mix(0.5), 200, epoch=1) != first
    one = mix(0.5)
    assert {one.choose(CAPTIONS, "web/7", 2, position) for position in range(50)} == {
        one.choose(CAPTIONS, "web/7", 2, 0)
    }
    of_two_sets = [one.choose(CAPTIONS, f"{name}/{i}", 0, i).source for name in ("web", "other") for i in range(100)]
    assert of_two_sets[:100] != of_two_sets[100:]


def test_choice_is_the_same_in_another_process() -> None:
    code = (
        "from imagetext.mix import *; m = CaptionMix(CaptionMixConfig(original_share=.5), 0);"
        "print([m.choose({'original': 'a', 'recaption': 'b'}, f'web/{i}', 0, i).text for i in range(64)])"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    one = mix(0.5)
    here = [one.choose({"original": "a", "recaption": "b"}, f"web/{i}", 0, i).text for i in range(64)]
    assert outputs == {f"{here}\n"}


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ("recaption", CAPTIONS["recaption"]),
        ("concat", "boat, A red boat. It floats! Is it old? Yes."),
        ("recaption_first_sentence", "A red boat."),
    ],
)
def test_recipes(recipe: str, text: str) -> None:
    assert mix(0.0, **{recipe: 1.0}).choose(CAPTIONS, "web/0", 0, 0) == Choice(text, recipe, False)


def test_random_sentence_takes_each_and_stays_within_an_epoch() -> None:
    one = mix(0.0, recaption_random_sentence=1.0)
    texts = [one.choose(CAPTIONS, f"web/{i}", 0, i).text for i in range(100)]
    assert set(texts) == set(split_sentences(CAPTIONS["recaption"]))
    assert one.choose(CAPTIONS, "web/3", 0, 99).text == texts[3]


def test_recipes_follow_their_weights() -> None:
    drawn = sources(mix(0.5, recaption=1.0, concat=3.0), 10_000)
    assert abs(drawn.count("concat") / 10_000 - 0.375) <= 0.02
    assert abs(drawn.count("recaption") / 10_000 - 0.125) <= 0.02


def test_concat_of_an_empty_original_is_the_recaption() -> None:
    captions = {"original": "", "recaption": "boat."}
    assert mix(0.0, concat=1.0).choose(captions, "web/0", 0, 0).text == "boat."


def test_missing_recaption_falls_back_to_the_original_and_says_so() -> None:
    assert mix(0.0).choose({"original": "boat"}, "web/0", 0, 0) == Choice("boat", "original", True)
    assert mix(0.0, concat=1.0).choose({"original": "boat"}, "web/0", 0, 0) == Choice("boat", "original", True)


def test_missing_recaption_tries_the_other_recipes_first() -> None:
    captions = {"original": "boat", "clean": "a boat"}
    assert mix(0.0, recaption=1e9, clean=1.0).choose(captions, "web/0", 0, 0) == Choice("a boat", "clean", True)


def test_arm_of_originals_alone_never_sees_a_recaption() -> None:
    assert mix(1.0).choose({"recaption": "boat."}, "web/0", 0, 0) == Choice("", "original", True)
    assert mix(1.0).choose({"original": "", "recaption": "boat."}, "web/0", 0, 0) == Choice("", "original", False)


def test_share_changes_at_its_position() -> None:
    config = CaptionMixConfig(original_share=0.0, share_changes={100: 1.0, 200: 0.0})
    one = CaptionMix(config, 0)
    drawn = [one.choose(CAPTIONS, "web/0", 0, position).source for position in (0, 99, 100, 199, 200)]
    assert drawn == ["recaption", "recaption", "original", "original", "recaption"]
    assert config.required_sources == ("original", "recaption")


def test_required_sources_are_checked() -> None:
    check_sources(CaptionMixConfig(), ["original"])
    with pytest.raises(
        UserError, match=r"caption source recaption does not exist: wanted one of original.*data\.sidecars"
    ):
        check_sources(CaptionMixConfig(original_share=0.5), ["original"])
    with pytest.raises(UserError, match="caption source paraphrase does not exist"):
        check_sources(CaptionMixConfig(original_share=0.5, others={"paraphrase": 1.0}), ["original", "recaption"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"original_share": 1.5}, r"original_share is out of range: found 1\.5, wanted a share in \[0, 1\]"),
        ({"others": {"recaption": 0.0}}, r"others\.recaption is out of range"),
        ({"others": {"original": 1.0}}, "others may not name original"),
        ({"original_share": 0.5, "others": {}}, "others is empty"),
        ({"share_changes": {5: -0.1}}, r"share_changes\.5 is out of range"),
        ({"share_changes": {-5: 0.1}}, "share_changes has a negative position"),
    ],
)
def test_bad_configs_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CaptionMixConfig(**fields)
