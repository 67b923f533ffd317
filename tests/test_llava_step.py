"""The captioner's step is measured in both ways on the same samples, and both compute the same loss."""

import re

import pytest
import torch

from benchmarks import llava_step
from benchmarks.llava_samples import SampleSource, TextLengths, Vocabulary, draw_samples
from benchmarks.llava_step import _MINIATURE, _PHASES, _build, _Fitting, _fitting, _Setting
from benchmarks.llava_ways import _collator, _Prepared, seconds_of_fit, seconds_of_trainer
from llava_train.network import SupervisedCaptioner
from llava_train.parts import inner_tower
from llava_train.task import AnswerTask

CPU = torch.device("cpu")


def test_samples_have_the_lengths_and_ids_asked_for() -> None:
    lengths = TextLengths(median=20, spread=0.5, longest=64, supervised_share=0.5)
    vocabulary = Vocabulary(num_words=90, image_id=90, pad_id=91)
    samples = draw_samples(64, lengths, vocabulary, tokens_per_image=16, image_size_px=8)
    texts = [len(sample.input_ids) - 16 for sample in samples]
    assert 15 < sorted(texts)[32] < 26 and max(texts) <= 48
    for sample, num_text in zip(samples, texts):
        assert list(sample.input_ids).count(90) == 16 and max(sample.input_ids) == 90
        assert sum(label >= 0 for label in sample.labels) == round(num_text * 0.5)
    again = draw_samples(64, lengths, vocabulary, tokens_per_image=16, image_size_px=8)
    assert [sample.input_ids for sample in again] == [sample.input_ids for sample in samples]


def test_updates_go_round_the_samples() -> None:
    lengths = TextLengths(median=10, spread=0.1, longest=64, supervised_share=0.5)
    vocabulary = Vocabulary(num_words=90, image_id=90, pad_id=91)
    samples = draw_samples(6, lengths, vocabulary, tokens_per_image=4, image_size_px=8)
    source = SampleSource(samples, batch_size=4, microbatch_size=2, pad_id=91, max_row_tokens=None)
    updates = source.updates(0, rank=0, world_size=1)
    keys = [key for _ in range(3) for batch in next(updates) for key in batch.keys]
    assert keys == [samples[place % 6].key for place in range(12)]


def test_both_ways_compute_the_same_loss() -> None:
    phase = _PHASES[0]
    size = llava_step.SIZES["tiny"]
    fitting = _fitting(_MINIATURE, phase, size, CPU)
    assert not isinstance(fitting, str)
    contest = _Setting.make(_MINIATURE, phase, size, fitting, CPU).contest
    prepared = _Prepared(contest)
    theirs = contest.llava(**_collator(contest.pad_id)([prepared[index] for index in range(2)])).loss
    source = SampleSource(
        contest.samples, batch_size=2, microbatch_size=2, pad_id=contest.pad_id, max_row_tokens=contest.max_row_tokens
    )
    (batch,) = next(source.updates(0, rank=0, world_size=1))
    task = AnswerTask()
    model = SupervisedCaptioner(_build(_MINIATURE, fitting.phase, CPU), contest.normaliser)
    ours = task.loss(model, batch, 0, torch.Generator()).total / task.count(batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_next_way_pays_nothing_for_what_trainer_computed_again() -> None:
    config = _PHASES[1].config(_MINIATURE, gradient_checkpointing=True)
    fitting = _Fitting(microbatch_size=2, phase=config)
    contest = _Setting.make(_MINIATURE, _PHASES[1], llava_step.SIZES["tiny"], fitting, CPU).contest
    seconds_of_trainer(contest)
    assert not [module for module in contest.llava.modules() if getattr(module, "gradient_checkpointing", False)]
    assert not contest.llava.get_input_embeddings()._forward_hooks
    assert not inner_tower(contest.llava).embeddings.patch_embedding._forward_hooks
    seconds_of_fit(contest, packing=False)
    assert all(layer.gradient_checkpointing for layer in contest.llava.model.language_model.layers)


def test_rates_count_the_work_of_the_updates_that_are_measured() -> None:
    phase, size = _PHASES[0], llava_step.SIZES["tiny"]
    fitting = _Fitting(microbatch_size=2, phase=phase.config(_MINIATURE, gradient_checkpointing=False))
    setting = _Setting.make(_MINIATURE, phase, size, fitting, CPU)
    first, *_ = batches = [setting.contest.samples[:2], setting.contest.samples[2:]]
    lengths = [sum(len(sample.input_ids) for sample in batch) for batch in batches]
    assert len(first) == setting.contest.batch_size and lengths[0] != lengths[1]
    assert setting.tokens_per_sample * 2 == lengths[1]


@pytest.mark.slow
def test_every_phase_is_raced_three_ways() -> None:
    table = llava_step.measure(llava_step.SIZES["tiny"], repeats=1)
    rows = re.findall(r"^\| (align|instruct, LoRA|instruct, full), 2 a microbatch +\| ([\w, ]+?) +\|", table, re.M)
    ways = ["Trainer", "ours", "ours, packed"]
    assert rows == [(phase.name, way) for phase in _PHASES for way in ways]
    assert "–" in table, "a CPU has no known peak"
