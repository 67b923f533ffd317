"""What runs cost: the published models' operations, the paper's schedule, and what a plan says of them."""

from pathlib import Path

import pytest
import torch

from clip_train.__main__ import main
from clip_train.architecture import model_config
from clip_train.compute import ClipCost
from clip_train.config import ClipTrainConfig
from clip_train.plan import architecture_of, parameter_counts, plan_stage
from clip_train.presets import find_model
from runtime.config import load
from runtime.errors import UserError
from runtime.flops import FlopLedger
from tests.clip_train.test_contrastive import batch_of, tiny_model

PAPER = Path(__file__).parents[2] / "configs" / "clip" / "paper.yaml"
FORWARD_GFLOP = {
    ("S-16", 112, 128): 7.94, ("S-16", 224, 32): 10.58, ("B-16", 112, 77): 14.60, ("B-16", 224, 128): 45.19,
    ("L-16", 112, 128): 52.87, ("H-14", 112, 32): 102.01, ("H-14", 224, 77): 381.68,
}  # fmt: skip
"""Of one sample: open_clip's model_profile.csv for 224 px and 77 tokens, and the same convention elsewhere."""


def paper(*flags: str) -> ClipTrainConfig:
    return load(ClipTrainConfig, PAPER, overrides=list(flags))


@pytest.mark.parametrize(("name", "size_px", "context_length"), FORWARD_GFLOP)
def test_operations_are_those_of_published_profiles(name: str, size_px: int, context_length: int) -> None:
    sizes = [f"--image_size_px={size_px}", f"--context_length={context_length}"]
    config = paper(f"--model=Recap-CLIP-{name}", *sizes).stages()[0]
    cost = ClipCost(architecture_of(config))
    found = (cost.image_flops + cost.text_flops(5)) / 1e9
    assert found == pytest.approx(FORWARD_GFLOP[name, size_px, context_length], rel=0.002)


def test_text_operations_are_what_the_ledger_counts() -> None:
    model = tiny_model()
    config = model_config(find_model("s_small"), image_size_px=32, vocab_size=40, context_length=9)
    ledger = FlopLedger()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        ledger.measure(lambda: model.encode_text(torch.randint(0, 40, (1, 9))))
    assert ClipCost(config).text_flops(9) == ledger.total
    bidirectional = {**config, "text_cfg": {**config["text_cfg"], "no_causal_mask": True}}
    assert ClipCost(bidirectional).text_flops(1) == ledger.total


def test_a_batch_is_counted_by_its_real_tokens() -> None:
    config = model_config(find_model("s_small"), image_size_px=32, vocab_size=40, context_length=9)
    cost = ClipCost(config)
    held = cost.workload(batch_of(("original",) * 3))
    assert held["images"] == 3 and held["tokens"] == 20
    texts = sum(cost.text_flops(length) for length in (9, 4, 7))
    assert held["flops"] == pytest.approx(3 * (3 * cost.image_flops + texts))
    assert cost.text_flops(4) < cost.text_flops(9)


def test_the_papers_schedule() -> None:
    first, second = (plan_stage(stage) for stage in paper().stages())
    assert (first.num_samples, second.num_samples) == pytest.approx((2.56e9, 128e6), rel=1e-3)
    warm = [stage.config.loop.warmup_updates * stage.config.loop.batch_size for stage in (first, second)]
    assert warm == pytest.approx([51.2e6, 25.6e6], rel=1e-3)
    assert (first.config.image_size_px, second.config.image_size_px) == (112, 224)
    # CLIPA's code: base rate times 64 times batch over 16,384.
    rates = [stage.config.loop.learning_rate for stage in (first, second)]
    assert rates == [8e-6 * 64 * 32768 / 16384, 4e-7 * 64 * 16384 / 16384]
    assert first.hours * 64 == pytest.approx(2.56e9 * first.flops_per_sample / (0.4 * 989.4e12 * 3600), rel=1e-3)
    assert 20 * 2**30 < first.memory.total < 60 * 2**30


def test_masked_text_costs_less() -> None:
    plain, masked = (architecture_of(paper(f"--model=Recap-CLIP-B-16{kind}").stages()[0]) for kind in ("", "-masked"))
    assert ClipCost(plain).training_flops(24) > 1.5 * ClipCost(masked).training_flops(24)
    counts = parameter_counts(masked)
    assert counts["in all"] == counts["vision tower"] + counts["text tower"]


def test_plan_is_printed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--config", str(PAPER), "--plan"])
    printed = capsys.readouterr().out
    assert "78,125 | 32,768 | 2,560,000,000" in printed
    assert "| in all       | 140,581,121 |" in printed
    assert not list(tmp_path.iterdir())


def test_miniature_runs_are_planned_too(tmp_path: Path) -> None:
    flags = ["--output_dir=x", "--data.shards=y", "--plan.num_gpus=1"]
    config = load(ClipTrainConfig, PAPER.with_name("mini.yaml"), overrides=flags)
    plan = plan_stage(config)
    assert plan.num_samples == 204_800
    assert 1e6 < plan.flops_per_sample < 1e9


def test_batch_that_does_not_divide_is_refused() -> None:
    message = r"batch_size: does not divide over the GPUs: found 32768, wanted a multiple of 1536"
    with pytest.raises(UserError, match=message):
        plan_stage(paper("--plan.num_gpus=3").stages()[0])


def test_weights_that_are_shared_out_take_a_share_of_the_memory() -> None:
    flags = "--model=Recap-CLIP-H-14"
    whole, shared = (
        plan_stage(paper(flags, f"--loop.sharding={sharding}").stages()[0]).memory for sharding in ("none", "fsdp2")
    )
    num_weights = whole.weights / 18
    # A sixty-fourth of weights, gradients and moments; of the 56 blocks two are gathered, and what lies outside them.
    assert num_weights * 16 / 64 < shared.weights < num_weights * 16 / 64 + 0.25 * num_weights * 2
    assert shared.activations == whole.activations


def test_further_captions_cost_texts_and_no_images() -> None:
    one, two = (plan_stage(paper(*flags).stages()[0]) for flags in ((), ("--mix.also=[original]",)))
    text_flops = ClipCost(architecture_of(one.config)).text_flops(one.config.plan.caption_tokens)
    assert two.flops_per_sample - one.flops_per_sample == 3 * text_flops
    assert two.memory.features - one.memory.features == 2 * 4 * 32_768 * 512
    assert one.memory.activations < two.memory.activations < 2 * one.memory.activations
    assert two.memory.weights == one.memory.weights
