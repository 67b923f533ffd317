"""A run of all phases: what moves, what is refused, and that a kill changes nothing."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_train import phases, recompute
from llava_train.config import FineTuneConfig, ShortFirstConfig
from runtime.errors import UserError
from runtime.run import Run
from tests.llava_train import tiny

PART_PREFIXES = {
    "vision_tower": "model.vision_tower.",
    "projector": "model.multi_modal_projector.",
    "language_model": ("model.language_model.", "lm_head."),
}


def weights_after(folder: Path, phase: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "phases" / phase / phases.WEIGHTS)


def data_facts(run_folder: Path) -> dict[str, object]:
    facts = json.loads((run_folder / "done.json").read_text())
    return {name: phase["data"] for name, phase in facts["phases"].items()}


def moved_parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    return {part for part, prefix in PART_PREFIXES.items() if any(name.startswith(prefix) for name in moved)}


def test_each_phase_moves_exactly_its_parts(export: Path) -> None:
    run = export.parent
    language, align, instruct, detail = (
        weights_after(run, name) for name in ("language", "align", "instruct", "detail")
    )
    assert moved_parts(language, align) == {"projector"}
    assert moved_parts(align, instruct) == {"projector", "language_model"}
    assert moved_parts(instruct, detail) == {"vision_tower", "projector", "language_model"}


def test_layers_above_the_feature_layer_never_move(export: Path) -> None:
    before, after = weights_after(export.parent, "instruct"), weights_after(export.parent, "detail")
    top = [name for name in after if "encoder.layers.2." in name or "post_layernorm" in name]
    assert top
    assert all(torch.equal(before[name], after[name]) for name in top)


@pytest.mark.parametrize("stop_after", [1, 4, 6, 9, 11], ids=lambda updates: f"killed-after-{updates}-updates")
def test_killed_and_continued_is_bit_identical(
    root: Path, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    config = tiny.config(root, tmp_path / "run")
    tiny.kill_after(monkeypatch, stop_after, lambda: phases.fine_tune(config))
    phases.fine_tune(config)
    folders = (export, config.output_dir / "export")
    undisturbed, continued = (load_file(folder / "model.safetensors") for folder in folders)
    assert undisturbed.keys() == continued.keys()
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)
    audits = [data_facts(folder.parent) for folder in folders]
    assert audits[0] == audits[1]


def test_number_of_workers_changes_no_weight_and_may_change_between_starts(root: Path, tmp_path: Path) -> None:
    found = []
    for num_workers in (0, 2):
        config = tiny.config(root, tmp_path / str(num_workers))
        config = dataclasses.replace(config, phases=["detail"], num_workers=num_workers)
        found.append(load_file(phases.fine_tune(config) / "model.safetensors"))
        assert (config.output_dir / "cache").is_dir()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    (config.output_dir / "done.json").unlink()
    again = load_file(phases.fine_tune(dataclasses.replace(config, num_workers=1)) / "model.safetensors")
    assert all(torch.equal(found[0][name], again[name]) for name in again)


def test_finished_run_returns_at_once(export: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "fit", lambda **_: pytest.fail("trained again"))
    assert phases.fine_tune(tiny.config(root, export.parent)) == export


def test_missing_pictures_are_named_before_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "data", tmp_path / "data")
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "pictures")
    config = dataclasses.replace(tiny.config(root, tmp_path / "run"), data=tmp_path / "data")
    monkeypatch.setattr(phases, "fit", lambda **_: pytest.fail("trained without pictures"))
    with pytest.raises(UserError, match=r"images/0\.png: the picture of conversation 'align-0' is missing: found 12"):
        phases.fine_tune(config)


def with_damaged_pictures(root: Path, folder: Path, num_damaged: int) -> FineTuneConfig:
    shutil.copytree(root / "data", folder / "data")
    for index in range(num_damaged):
        (folder / "data" / "images" / f"{index}.png").write_bytes(b"no picture")
    return dataclasses.replace(tiny.config(root, folder / "run"), data=folder / "data", phases=["align"])


def test_damaged_pictures_are_counted_up_to_the_budget(root: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(with_damaged_pictures(root, tmp_path, 3), max_bad_share=0.002)
    with pytest.raises(UserError, match=r"the last 'align-\d'.*found 3 of 12, wanted at most 0\.2%"):
        phases.fine_tune(config)


def test_few_damaged_pictures_of_few_stop_no_run(root: Path, tmp_path: Path) -> None:
    config = with_damaged_pictures(root, tmp_path, 3)
    assert config.max_bad_share * 12 < 1
    phases.fine_tune(config)
    facts = json.loads((config.output_dir / "done.json").read_text())
    assert facts["phases"]["align"]["data"]["skipped_samples"] == {"not_an_image": 3}


def test_nothing_but_damaged_pictures_stops_the_run(root: Path, tmp_path: Path) -> None:
    config = with_damaged_pictures(root, tmp_path, 12)
    with pytest.raises(UserError, match=r"all 8 of update 0 are bad\): found 8 of 12, wanted at most 1\.0%"):
        phases.fine_tune(config)


@pytest.mark.parametrize("multiplier", [-1.0, -0.001])
def test_negative_learning_rate_of_the_tower_is_refused(root: Path, multiplier: float) -> None:
    detail = tiny.config(root, root / "unused").detail
    with pytest.raises(
        UserError, match=r"vision_tower_learning_rate_multiplier: out of range: found -.*wanted 0, which"
    ):
        dataclasses.replace(detail, vision_tower_learning_rate_multiplier=multiplier)


@pytest.mark.parametrize("part", ["vision_tower", "projector"])
def test_learning_rate_of_a_frozen_part_is_refused(root: Path, part: str) -> None:
    language = tiny.config(root, root).language
    with pytest.raises(UserError, match=f"a learning rate for a frozen part: found 0.5, wanted 1, or {part} in"):
        dataclasses.replace(language, **{f"{part}_learning_rate_multiplier": 0.5})


def test_folder_of_another_config_is_refused(export: Path, root: Path) -> None:
    other = dataclasses.replace(tiny.config(root, export.parent), seed=1)
    with pytest.raises(UserError, match=r"differing in 'seed': found 0, wanted 1"):
        phases.fine_tune(other)


def test_wrong_clip_directory_is_named(root: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny.config(root, tmp_path / "run"), vision_tower=tmp_path)
    with pytest.raises(UserError, match=r"no model here: found no config\.json, wanted a model folder of type clip"):
        phases.fine_tune(config)


def test_curriculum_without_a_short_answer_is_refused(root: Path, tmp_path: Path) -> None:
    config = tiny.config(root, tmp_path / "run")
    detail = dataclasses.replace(config.detail, short_first=ShortFirstConfig(num_updates=1, max_answer_words=4))
    with pytest.raises(UserError, match=r"max_answer_words: no answer is as short: found 4, wanted at least 5"):
        phases.fine_tune(dataclasses.replace(config, phases=["detail"], detail=detail))


@pytest.mark.parametrize(("num_updates", "max_answer_words"), [(0, 5), (1, 0), (3, 5)])
def test_curriculum_leaves_updates_on_both_sides(root: Path, num_updates: int, max_answer_words: int) -> None:
    detail = tiny.config(root, root / "unused").detail
    with pytest.raises(UserError, match=r"short_first\.(num_updates|max_answer_words): "):
        dataclasses.replace(
            detail, short_first=ShortFirstConfig(num_updates=num_updates, max_answer_words=max_answer_words)
        )


def test_phases_out_of_order_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"phases: wrong list of phases"):
        dataclasses.replace(tiny.config(root, tmp_path), phases=["detail", "align"])


def test_run_folder_tells_its_data(export: Path) -> None:
    facts = Run(export.parent, {}, {}).facts()
    assert facts["phases"]["instruct"]["data"] == {"num_samples": 24, "drawn": 24, "skipped_samples": {}}


def test_image_that_fills_the_longest_sequence_is_refused(root: Path, tmp_path: Path) -> None:
    config = tiny.config(root, tmp_path / "run")
    model = dataclasses.replace(config.language_model, max_length_tokens=tiny.NUM_IMAGE_TOKENS)
    message = (
        r"max_length_tokens: no room for text beside the 4 tokens of one image: found 4, wanted more than 4\. Raise it"
    )
    with pytest.raises(UserError, match=message):
        phases.fine_tune(dataclasses.replace(config, language_model=model))
    # Nothing was made, so that the field may be changed in the same folder.
    phases.fine_tune(dataclasses.replace(config, phases=["language"]))


def test_conversation_whose_answers_are_all_cut_off_is_refused_before_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "fit", lambda **_: pytest.fail("trained before all data was checked"))
    config = dataclasses.replace(tiny.config(root, tmp_path / "run"), phases=["language", "align"])
    model = dataclasses.replace(config.language_model, max_length_tokens=tiny.NUM_IMAGE_TOKENS + 1)
    with pytest.raises(UserError, match=r"record text-0: no token of an answer is left.*within the first 5 of its"):
        phases.fine_tune(dataclasses.replace(config, language_model=model))


def test_wrong_data_of_the_last_phase_is_found_before_the_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "fit", lambda **_: pytest.fail("trained before all data was checked"))
    config = tiny.config(root, tmp_path / "run")
    detail = dataclasses.replace(config.detail, short_first=ShortFirstConfig(num_updates=1, max_answer_words=4))
    with pytest.raises(UserError, match="no answer is as short"):
        phases.fine_tune(dataclasses.replace(config, detail=detail))


@pytest.mark.parametrize("asked", [False, True])
def test_run_recomputes_blocks_when_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """The blocks do so in training mode alone, in which a captioner just built is not."""
    calls = []
    original = recompute.checkpoint
    monkeypatch.setattr(
        recompute, "checkpoint", lambda *inputs, **options: (calls.append(1), original(*inputs, **options))[1]
    )
    config = tiny.config(root, tmp_path / "run", num_updates=1)
    language = dataclasses.replace(config.language, gradient_checkpointing=asked)
    phases.fine_tune(dataclasses.replace(config, phases=["language"], language=language))
    assert len(calls) == (config.language_model.num_layers if asked else 0)
