"""The plan of the paper's captioner, which needs no weights, beside numbers computed by hand."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from llava_train.config import FineTuneConfig, PhaseName
from llava_train.geometry import captioner_shape
from llava_train.memory import Memory
from llava_train.plan import PhasePlan, describe, parameter_counts, plan_phase
from runtime.config import load
from runtime.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "llava"
VISION, PROJECTOR, LLAMA, GROWN = 303_507_456, 20_979_712, 8_030_261_248, 8_030_785_536
ALL = 8_355_272_704
# An adapter of rank 128 has 128 rows for each input and each output: of queries 4096 and 4096, keys and values 4096 and
# 1024, output 4096 and 4096, gate and up 4096 and 14336, down 14336 and 4096; in 32 blocks.
ADAPTERS = 32 * 128 * (2 * 4096 + 2 * (4096 + 1024) + 2 * 4096 + 3 * (4096 + 14336))
FULL = ("--instruct.lora=null", "--instruct.loop.sharding=zero3", "--instruct.loop.microbatch_size=4")


def paper(*overrides: str) -> FineTuneConfig:
    return load(FineTuneConfig, CONFIGS / "paper.yaml", overrides=overrides)


@cache
def planned(name: PhaseName, *overrides: str) -> PhasePlan:
    return plan_phase(paper(*overrides), name)


def test_parameters_by_part() -> None:
    assert parameter_counts(paper()) == {
        "vision tower": VISION,
        "projector": PROJECTOR,
        "language model": GROWN,
        "in all": ALL,
        "language model as it comes": LLAMA,
    }
    assert captioner_shape(paper()).text_config.vocab_size == 128_320
    assert captioner_shape(paper()).image_seq_length == 576


def test_trained_parameters_of_each_phase() -> None:
    assert planned("align").num_trained == PROJECTOR
    assert planned("instruct").num_trained == PROJECTOR + ADAPTERS == 356_524_032
    assert planned("instruct", *FULL).num_trained == PROJECTOR + GROWN


def state(memory: Memory) -> tuple[float, ...]:
    return memory.weights, memory.copies, memory.gathered, memory.gradients, memory.optimizer


def test_memory_of_adapters_under_zero2_by_hand() -> None:
    memory = planned("instruct").memory
    trained = PROJECTOR + ADAPTERS
    # All weights in bfloat16 on each of eight GPUs; an eighth of float32 gradients, moments and float32 weights.
    assert state(memory) == (2 * (ALL + ADAPTERS), 0, 0, 4 * trained / 8, (8 + 4) * trained / 8)
    # 16 sequences of 2048 tokens: 32 block inputs of 4096 in bfloat16, and one block at work. Of it both norms' float32
    # inputs; queries, keys, values, output and a float32 sum a head; gate, activated gate and up; and for each adapter
    # its input, dropped out and with the mask, and its inner product.
    inputs = 5 * 4096 + 4096 + 14336
    block = 2 * 4 * 4096 + 2 * (2 * 4096 + 2 * 1024) + 4 * 32 + 2 * 3 * 14336 + 3 * inputs + 7 * 2 * 128
    assert block == 257_920
    projector = 16 * 576 * 2 * (1024 + 2 * 4096)
    assert memory.activations == 16 * 2048 * (32 * 2 * 4096 + block) + projector
    # 16 samples of 130 supervised tokens exceed what is scored at a time.
    assert memory.logits == 2**27 * 16
    assert memory.total == sum(state(memory)) + memory.activations + memory.logits


def test_memory_of_full_fine_tuning_under_zero3_by_hand() -> None:
    memory = planned("instruct", *FULL).memory
    trained = PROJECTOR + GROWN
    assert state(memory) == (2 * ALL / 8, 0, 2 * 10**9, 4 * trained / 8, 12 * trained / 8)


def test_memory_of_one_gpu_by_hand() -> None:
    memory = plan_phase(load(FineTuneConfig, CONFIGS / "small.yaml"), "align").memory
    # Frozen weights in bfloat16, the projector's in float32 with copies of its matrices and biases for its products.
    assert state(memory) == (2 * (ALL - PROJECTOR) + 4 * PROJECTOR, 2 * PROJECTOR, 0, 4 * PROJECTOR, 8 * PROJECTOR)


def test_replicas_average_gradients_through_copies_of_them() -> None:
    one, two = (
        plan_phase(load(FineTuneConfig, CONFIGS / "small.yaml", overrides=[f"--plan.num_gpus={num}"]), "align").memory
        for num in (1, 2)
    )
    assert two.gradients == 2 * one.gradients == 2 * 4 * PROJECTOR
    assert state(two)[:3] == state(one)[:3] and two.optimizer == one.optimizer


def test_memory_under_fsdp2_by_hand() -> None:
    memory = planned("instruct", "--instruct.lora=null", "--instruct.loop.sharding=fsdp2").memory
    trained = PROJECTOR + GROWN
    block = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336) + 2 * 4096
    tower_layer = 4 * (1024 + 1) * 1024 + (1024 + 1) * 4096 + (4096 + 1) * 1024 + 4 * 1024
    outside = ALL - 32 * block - 24 * tower_layer
    outside_trained = trained - 32 * block
    # Two blocks and what belongs to none, in bfloat16; gradients of a block and of that, in bfloat16 and float32.
    gathered = 2 * (2 * block + outside) + (2 + 4) * (block + outside_trained)
    assert state(memory) == ((4 * trained + 2 * VISION) / 8, 0, gathered, 4 * trained / 8, 8 * trained / 8)


def test_host_memory_by_hand() -> None:
    """Of each process, however many share the model out: what trains in float32 and bfloat16, the rest in bfloat16."""
    trained = PROJECTOR + ADAPTERS
    assert planned("instruct").host_bytes == (4 + 2) * trained + 2 * (ALL + ADAPTERS - trained)
    alone = plan_phase(load(FineTuneConfig, CONFIGS / "small.yaml"), "align")
    assert alone.host_bytes == 4 * PROJECTOR + 2 * (ALL - PROJECTOR)
    full = (4 + 2) * (PROJECTOR + GROWN) + 2 * VISION
    assert planned("instruct", *FULL).host_bytes == planned("instruct", *FULL, "--plan.num_gpus=16").host_bytes == full
    assert f"| {full / 2**30:.1f} |\n" in describe(paper(*FULL))


def test_more_gpus_share_more_and_checkpointing_keeps_less() -> None:
    eight, sixteen = (planned("instruct", *FULL, f"--plan.num_gpus={num}").memory for num in (8, 16))
    assert sixteen.optimizer == eight.optimizer / 2 and sixteen.weights == eight.weights / 2
    kept = planned("instruct", "--instruct.gradient_checkpointing=false").memory.activations
    assert kept > 10 * planned("instruct").memory.activations


def test_hours_by_hand() -> None:
    plan = planned("align")
    assert plan.num_samples == 2181 * 256
    # 596 tokens, 18 of them supervised (tests/llava_train/test_compute.py), on 8 GPUs at 40 % of 989.4 TFLOP/s.
    assert plan.work.total == 17_390_047_948_800
    assert plan.hours == pytest.approx(2181 * 256 * 17_390_047_948_800 / (8 * 0.4 * 989.4e12) / 3600)
    assert plan.hours == pytest.approx(0.852, abs=0.001)
    assert planned("align", "--plan.mfu=0.2").hours == pytest.approx(2 * plan.hours)


def test_the_page_says_all_of_it() -> None:
    page = describe(paper())
    for number in (VISION, PROJECTOR, GROWN, ALL, LLAMA):
        assert f"{number:,}" in page
    assert "from 128,256 to 128,320 rows" in page
    for phase in ("align", "instruct", "detail"):
        assert page.count(f"| {phase} ") == 2
    assert "8 H100-80GB at 40% of their 989.4 TFLOP/s" in page


def test_a_small_language_model_is_planned_too() -> None:
    small = load(
        FineTuneConfig,
        CONFIGS / "own.yaml",
        overrides=["--output_dir=x", "--data=d", "--vision_tower=openai/clip-vit-large-patch14-336"],
    )
    counts = parameter_counts(small)
    assert counts["vision tower"] == VISION
    assert counts["language model"] == counts["language model as it comes"], "its table holds all tokens from the start"


def test_a_local_config_gives_the_shape(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(vocab_size=100, hidden_size=64, num_hidden_layers=1, num_attention_heads=4).save_pretrained(tmp_path)
    config = replace(paper(), pretrained_language_model=str(tmp_path))
    assert captioner_shape(config).text_config.vocab_size == 128
    assert captioner_shape(config).text_config.hidden_size == 64


def test_an_unknown_model_is_refused_by_its_field() -> None:
    with pytest.raises(UserError, match=r"pretrained_language_model: the shape .* is not known: found some/model"):
        parameter_counts(replace(paper(), pretrained_language_model="some/model"))
    with pytest.raises(UserError, match=r"vision_tower: .*wanted a folder with a config\.json, or one of openai/clip"):
        parameter_counts(replace(paper(), vision_tower=Path("some/tower")))


def test_gpus_that_share_no_batch_are_refused_as_training_would() -> None:
    with pytest.raises(UserError, match=r"batch_size: does not divide over the GPUs: found 256.*plan's 7 GPUs"):
        plan_phase(paper("--plan.num_gpus=7"), "align")
    with pytest.raises(UserError, match=r"wanted a multiple of 512 \(the plan's 16 GPUs x microbatches of 32\)"):
        plan_phase(paper("--plan.num_gpus=16"), "align")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--plan.num_gpus=0", r"plan\.num_gpus: out of range"),
        ("--plan.mfu=1.1", r"plan\.mfu: out of range"),
        ("--plan.gpu=H300", r"plan\.gpu"),
        ("--plan.align.supervised_tokens=30", r"supervised_tokens: out of range: found 30.*the 20 text_tokens"),
        ("--plan.align.image_share=1.5", r"image_share: out of range"),
    ],
)
def test_a_plan_of_nonsense_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        paper(override)
