"""The captions and captioner suites on a tiny web, where every answer is known."""

from dataclasses import replace
from pathlib import Path

import pytest

from eval.config import CaptionerConfig, EvalConfig
from eval.suites.captioner import measure_captioner, questions, score_answers, yes_or_no
from eval.suites.captions import measure_captions
from eval.truth import read_true_samples
from imagetext.sidecars import write_sidecar
from imagetext.vocabulary import vocabulary_shares
from miniweb.lexicon import NOUNS, with_article
from runtime.errors import UserError


def config_of(web: Path, **values: object) -> EvalConfig:
    return EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=20, **values)


def values_of(measurements) -> dict[str, float]:
    return {measurement.metric: measurement.interval.value for measurement in measurements}


def test_perfect_recaptions_cover_everything_and_claim_nothing_false(web, perfect_recaptions) -> None:
    values = values_of(measure_captions(config_of(web, recaptions=perfect_recaptions)))
    for split in ("web_heldout", "captioner_heldout"):
        assert values[f"{split}/recaption_coverage"] == 1.0
        assert values[f"{split}/recaption_unsupported"] == 0.0
        assert values[f"{split}/oracle_coverage"] == 1.0
        assert values[f"{split}/recaption_unparsed"] == 0.0
    assert values["web_heldout/original_coverage"] < 1.0
    assert values["web/recaption_words"] > 3 * values["web/original_words"]
    assert "captioner_heldout/original_coverage" not in values


def test_recaptions_of_other_pictures_are_found_out(web, perfect_recaptions, tmp_path) -> None:
    samples = read_true_samples(web / "web_heldout")
    turned = [*samples[1:], samples[0]]
    captions = {sample.key: row for sample, row in zip(samples, turned, strict=True)}
    rows = [
        {"key": key, "re_caption": f"There is {with_article(NOUNS[other.scene.things[0].kind][0])}."}
        for key, other in captions.items()
    ]
    write_sidecar(tmp_path / "shuffled", samples[0].shard, rows)
    shuffled = {**perfect_recaptions, "web_heldout": tmp_path / "shuffled"}
    values = values_of(measure_captions(config_of(web, recaptions=shuffled)))
    assert values["web_heldout/recaption_unsupported_object"] > 0.3
    assert values["web_heldout/recaption_coverage"] < 0.3


def test_a_split_without_recaptions_is_named(web, perfect_recaptions) -> None:
    without = {name: path for name, path in perfect_recaptions.items() if name != "web_heldout"}
    with pytest.raises(UserError, match=r"recaptions\.web_heldout: no recaptions"):
        list(measure_captions(config_of(web, recaptions=without)))


def test_a_sample_without_a_row_is_named(web, perfect_recaptions, tmp_path) -> None:
    samples = read_true_samples(web / "web_heldout")
    write_sidecar(tmp_path / "part", samples[0].shard, [{"key": samples[0].key, "re_caption": "A boat."}])
    part = {**perfect_recaptions, "web_heldout": tmp_path / "part"}
    with pytest.raises(UserError, match="samples without a row"):
        list(measure_captions(config_of(web, recaptions=part)))


def test_vocabulary_shares_have_their_known_answer() -> None:
    first, second = vocabulary_shares(["red boat", "a boat"], ["red house tree", "Red house!"], replicates=20)
    # Union: red boat a house tree; the first uses 3 of 5, the second 3 of 5.
    assert (first.value, second.value) == (0.6, 0.6)
    assert first.low <= first.value <= first.high <= 1.0


class KnowsEverything:
    """A captioner that looks the answer up in the truth."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers

    def answer(self, images, prompts, *, max_new_tokens: int, batch_size: int) -> list[str]:
        assert len(images) == len(prompts) == len(self.answers)
        return self.answers


def test_object_questions_are_balanced_and_scored(web) -> None:
    config = replace(config_of(web), captioner=CaptionerConfig(num_images=6, questions_per_image=2))
    samples = read_true_samples(web / "captioner_heldout", 6)
    asked = [there for sample in samples for _, there in questions(sample, 2)]
    assert sum(asked) * 2 == len(asked)
    right = values_of(measure_captioner(config, KnowsEverything(["Yes." if there else "No." for there in asked])))
    assert right["captioner_heldout/object_question_accuracy"] == 1.0
    always_yes = values_of(measure_captioner(config, KnowsEverything(["Yes, there is."] * len(asked))))
    assert always_yes["captioner_heldout/object_question_accuracy"] == 0.5
    assert always_yes["captioner_heldout/object_question_yes_share"] == 1.0
    silent = values_of(measure_captioner(config, KnowsEverything([""] * len(asked))))
    assert silent["captioner_heldout/object_question_accuracy"] == 0.0
    assert silent["captioner_heldout/object_question_unanswered_share"] == 1.0


@pytest.mark.parametrize(
    ("answer", "said"), [("Yes.", True), ("no, there is not", False), ("A boat", None), ("", None)]
)
def test_answers_are_read_by_their_first_word(answer: str, said: bool | None) -> None:
    assert yes_or_no(answer) is said


def test_answers_of_one_picture_are_one_item() -> None:
    outcomes = score_answers([("a", True), ("a", False), ("b", True)], ["Yes.", "Yes.", "No."])
    accuracy = outcomes["object_question_accuracy"]
    assert accuracy.ids.tolist() == ["a", "b"] and accuracy.weights.tolist() == [2.0, 1.0]
    assert accuracy.value == pytest.approx(1 / 3)
