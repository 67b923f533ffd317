"""Judges: what they write can be read back, what is scored is what holds, and true pictures reach the ceiling."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.config import EvalConfig, ImagesConfig, JudgeConfig
from eval.embeddings import Embeddings
from eval.judge_files import load_judge, save_judge
from eval.judge_network import HEADS, JUDGE_NAMES, MAP_CELLS, build_judge
from eval.judge_training import CLASSES, EMPTY, RISING_SHARE, Targets, train_judge
from eval.judging import claims_followed, score_prompt, score_prompts, whole_prompts
from eval.perception import perceive, read_outputs
from eval.prompts import development_prompts, read_prompts
from eval.scene_edits import EDITS
from eval.suites.images import Instruments, Studio, measure_images
from eval.suites.judges import TrueAndFalse, agreement_of, ceiling, false_accepts
from eval.truth import pixels_of, read_true_samples
from miniweb import grammar
from miniweb.claims import Perceived, check, parse
from miniweb.scene import Scene
from miniweb.world import sample_scene
from runtime import seeds
from runtime.errors import UserError
from tests.eval.test_suite_clip import Constant


def scenes(number: int) -> list[Scene]:
    return [sample_scene(seeds.numpy_generator("scene", index), "judges") for index in range(number)]


def ideal_outputs(targets: Targets) -> dict[str, torch.Tensor]:
    """Write targets as a judge that is sure of everything would."""
    outputs = {"place": torch.from_numpy(targets.place)}
    outputs["presence"] = torch.where(torch.from_numpy(targets.classes["kind"])[:, None] == EMPTY, -9.0, 9.0)
    for head, names in CLASSES.items():
        wanted = torch.from_numpy(targets.classes[head]).clamp(min=0)
        outputs[head] = torch.nn.functional.one_hot(wanted, len(names)).permute(0, 3, 1, 2).float() * 9
    outputs["background"] = torch.nn.functional.one_hot(torch.from_numpy(targets.background), 6).float()
    return outputs


def test_targets_read_back_as_the_scenes_they_were_written_from() -> None:
    drawn = scenes(40)
    for scene, seen in zip(drawn, read_outputs(ideal_outputs(Targets(drawn))), strict=True):
        assert seen.background == scene.background
        found = sorted((thing.species, thing.colour, thing.size) for thing in seen.things)
        assert found == sorted((thing.species, thing.colour, thing.size) for thing in scene.things)
        places = np.array(sorted((thing.x, thing.y) for thing in seen.things))
        np.testing.assert_allclose(places, sorted((thing.x, thing.y) for thing in scene.things), atol=1e-5)


@pytest.mark.parametrize("name", JUDGE_NAMES)
def test_judges_have_the_shapes_they_promise(name) -> None:
    outputs = build_judge(name).eval()(torch.zeros(2, 3, 64, 64))
    assert {head: output.shape[1] for head, output in outputs.items() if head in HEADS} == HEADS
    assert outputs["kind"].shape[2:] == (MAP_CELLS, MAP_CELLS)
    assert outputs["features"].shape == (2, 64)


def test_training_a_judge_is_repeatable_and_it_comes_back_from_its_file(web: Path, tmp_path: Path) -> None:
    samples = read_true_samples(web / "judges" / "train")
    images = np.stack([pixels_of(sample.image, 64) for sample in samples])
    config = JudgeConfig(num_updates=3, batch_size=4)
    first = train_judge("B", images, [sample.scene for sample in samples], config)
    second = train_judge("B", images, [sample.scene for sample in samples], config)
    for left, right in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    save_judge(first, tmp_path, "B", "origin")
    np.testing.assert_array_equal(perceive(load_judge(tmp_path, "B"), images)[1], perceive(first, images)[1])


def test_an_absent_judge_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"judge_A\.safetensors: no trained judge.*python -m eval judges"):
        load_judge(tmp_path, "A")


def test_a_perfect_picture_follows_its_prompt_and_extra_things_count_against_it() -> None:
    scene = next(
        scene for scene in scenes(50) if len(scene.things) == 2 and scene.things[0].kind != scene.things[1].kind
    )
    parsed = parse(grammar.describe(scene, seeds.numpy_generator(0)))
    assert score_prompt(parsed, scene).whole
    alone = parse(f"A {scene.things[0].colour} {scene.things[0].kind}.")
    score = score_prompt(alone, scene)
    assert score.num_supported == score.num_claims == 2
    assert score.num_extra_things == 1 and not score.whole
    assert claims_followed({"a": score}).value == pytest.approx(2 / 3)
    assert whole_prompts({"a": score}).value == 0.0


def test_an_empty_picture_follows_only_its_background() -> None:
    scene = scenes(1)[0]
    score = score_prompt(parse(grammar.describe(scene, seeds.numpy_generator(0))), Perceived(scene.background, ()))
    assert score.supported["background"] == 1 and score.num_supported == 1
    assert score.num_extra_things == 0


@pytest.mark.parametrize("name", list(EDITS))
def test_every_edit_makes_some_claim_false(name: str) -> None:
    changed = 0
    for index, scene in enumerate(scenes(30)):
        edited = EDITS[name](scene, seeds.numpy_generator("edit", index))
        if edited is not None:
            parsed = parse(grammar.describe(edited, seeds.numpy_generator(index), grammar.ALL_NAMES))
            changed += bool(check(parsed, scene).unsupported)
    assert changed >= 5


def test_a_judge_that_sees_the_truth_has_a_full_ceiling_and_accepts_nothing_false(web: Path) -> None:
    samples = read_true_samples(web / "judges" / "test")
    questions = TrueAndFalse(samples)
    truth = [Perceived(sample.scene.background, sample.scene.things) for sample in samples]
    blind = [Perceived("none", ()) for _ in samples]
    assert {outcome.value for outcome in ceiling(questions, truth).values()} == {1.0}
    assert false_accepts(questions, truth)["false_accept"].value == 0.0
    assert agreement_of(questions, truth, truth).value == 1.0
    assert agreement_of(questions, truth, blind).value < 0.5
    assert ceiling(questions, blind)["ceiling_claims"].value == 0.0


class TruthfulStudio(Studio):
    """A generator that draws every prompt perfectly, whatever the guidance."""

    def __init__(self) -> None:
        self.sampler = type("Sized", (), {"image_size_px": 64})()

    def draw(self, prompts, guidance: float) -> np.ndarray:
        return self.true_pictures(prompts)


def test_a_perfect_generator_reaches_the_ceiling_of_every_set(web, perfect_recaptions, tmp_path: Path) -> None:
    config = EvalConfig(
        output_dir=tmp_path,
        miniweb=web,
        recaptions=perfect_recaptions,
        bootstrap_replicates=10,
        images=ImagesConfig(num_prompts=6, num_development_prompts=4, num_pictures=2),
    )
    judges = {name: build_judge(name).eval() for name in JUDGE_NAMES}
    instruments = Instruments(
        judges=judges,
        judge_sha8=dict.fromkeys(JUDGE_NAMES, "00000000"),
        scorers={"clip": Embeddings(Constant(), 8)},
        scorer_sha8={"clip": "11111111"},
    )
    values = {m.metric: m.interval.value for m in measure_images(config, TruthfulStudio(), instruments)}
    for name in ("raw", "recap", "recombined", "longer"):
        assert values[f"prompts_{name}/claims_fixed"] == values[f"prompts_{name}/claims_ceiling"]
        assert values[f"prompts_{name}/clip_score_fixed"] == pytest.approx(100.0)
    assert values["prompts_raw/frechet_fixed"] == pytest.approx(0.0, abs=1e-6)
    assert values["development/best_guidance"] in config.images.guidance_scales
    assert len(list((tmp_path / "images" / "pictures" / "recap" / "truth").glob("*.png"))) == 2


def test_recaptioned_prompts_need_their_captions(web, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recaptions\.prompts: no recaptioned prompts"):
        read_prompts(web, {}, "recap", 5)
    with pytest.raises(UserError, match="no such prompts"):
        read_prompts(tmp_path, {}, "raw", 5)


def test_development_prompts_share_no_scene_with_test_prompts(web, perfect_recaptions) -> None:
    development = {prompt.scene for prompt in development_prompts(web, 50)}
    for name in ("raw", "recap", "recombined", "longer"):
        assert not development & {prompt.scene for prompt in read_prompts(web, perfect_recaptions, name, 50)}


def test_floor_gives_pictures_to_other_prompts(web, perfect_recaptions) -> None:
    prompts = read_prompts(web, perfect_recaptions, "recap", 6)
    parsed = [parse(prompt.text) for prompt in prompts]
    keys = [prompt.key for prompt in prompts]
    truth = [replace(prompt.scene) for prompt in prompts]
    own = claims_followed(score_prompts(keys, parsed, truth))
    other = claims_followed(score_prompts(keys, parsed, [*truth[1:], truth[0]]))
    assert own.value == 1.0 and other.value < 0.6


@pytest.mark.parametrize("num_updates", [1, 2, 10, 20])
def test_a_judge_trains_for_any_number_of_updates(num_updates: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=num_updates, pct_start=RISING_SHARE)
    for _ in range(num_updates - 1):
        optimizer.step()
        schedule.step()
    assert 0.0 <= optimizer.param_groups[0]["lr"] <= 1.0
