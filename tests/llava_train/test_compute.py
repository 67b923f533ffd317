"""Useful work: hand-computed for the paper's captioner, and as operators count it for a small one."""

from dataclasses import replace

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import ConversationBatch
from llava_train.compute import CaptionerCost, Content
from llava_train.config import LoraConfig, Part, PhaseConfig
from llava_train.geometry import KNOWN_LANGUAGE_MODELS, KNOWN_VISION_TOWERS, on_meta
from llava_train.lora import add_adapters
from llava_train.network import SupervisedCaptioner
from llava_train.phases import freeze
from llava_train.pixels import Normaliser, PixelGeometry
from llava_train.task import AnswerTask
from runtime.flops import FlopLedger
from runtime.loop_config import LoopConfig
from tests.llava_train.shapes import IMAGE_ID, TOKENS_PER_IMAGE, small_llava

PATCHES, CLASS = 576, 1
"""Of ViT-L/14 at 336 pixels."""


def phase(*trainable: Part, lora: LoraConfig | None = None) -> PhaseConfig:
    loop = LoopConfig(num_updates=1, batch_size=1, learning_rate=1.0)
    return PhaseConfig(conversations=["none"], trainable=list(trainable), loop=loop, lora=lora)


def paper_cost(*trainable: Part) -> CaptionerCost:
    language = {**KNOWN_LANGUAGE_MODELS["meta-llama/Meta-Llama-3-8B"], "vocab_size": 128_320}
    vision = KNOWN_VISION_TOWERS["openai/clip-vit-large-patch14-336"]
    shape = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision).to_dict(), text_config=LlamaConfig(**language).to_dict()
    )
    llava = on_meta(shape)
    freeze(llava, phase(*trainable))
    return CaptionerCost(llava)


def test_alignment_of_the_papers_captioner_by_hand() -> None:
    work = paper_cost("projector").of(Content.of_sample(PATCHES + 20, 18, 1))
    # 23 of 24 layers: four products of 1024 x 1024 and two of 1024 x 4096 a token, and attention of all with all.
    vision = (
        2 * PATCHES * 3 * 14 * 14 * 1024
        + 23 * 2 * (PATCHES + CLASS) * (4 * 1024**2 + 2 * 1024 * 4096)
        + 23 * 4 * (PATCHES + CLASS) ** 2 * 1024
    )
    assert vision == 366_033_858_560
    # 6,979,321,856 weights in the products of LLaMA-3-8B's blocks; 596 tokens, each seeing itself and those before.
    blocks, attention, output = 2 * 596 * 6_979_321_856, 4 * 32 * 4096 * 596 * 597 // 2, 2 * 18 * 4096 * 128_320
    assert work.forward == {
        "vision tower": vision,
        "projector": 24_159_191_040,
        "language model": blocks,
        "attention": attention,
        "output layer": output,
    }
    # The projector's second layer passes a gradient to the first; the language model only passes it on.
    assert work.backward == {
        "vision tower": 0,
        "projector": 24_159_191_040 + 2 * PATCHES * 4096**2,
        "language model": blocks,
        "attention": 2 * attention,
        "output layer": output,
    }
    assert work.total == 17_390_047_948_800


def test_full_fine_tuning_of_the_papers_captioner_by_hand() -> None:
    work = paper_cost("projector", "language_model").of(Content.of_sample(800, 130, 1))
    blocks = 2 * 800 * 6_979_321_856
    assert work.forward["language model"] == blocks and work.backward["language model"] == 2 * blocks
    assert work.backward["output layer"] == 2 * work.forward["output layer"] == 4 * 130 * 4096 * 128_320
    assert work.backward["vision tower"] == 0


def test_text_alone_costs_a_frozen_language_model_no_backward_pass() -> None:
    work = paper_cost("projector").of(Content.of_sample(100, 50, 0))
    assert sum(work.backward.values()) == 0 and work.forward["vision tower"] == 0


def test_a_part_that_does_not_move_costs_what_a_frozen_one_does() -> None:
    frozen, still = small_llava(), small_llava()
    freeze(frozen, phase("projector"))
    freeze(still, replace(phase("projector", "vision_tower"), vision_tower_learning_rate_multiplier=0.0))
    assert CaptionerCost(still).of(Content.of_sample(20, 3, 1)) == CaptionerCost(frozen).of(Content.of_sample(20, 3, 1))


def batch(num_samples: int, num_text: int, *, with_images: bool) -> ConversationBatch:
    """Return rows without padding, whose last three tokens are answers."""
    image = [IMAGE_ID] * TOKENS_PER_IMAGE if with_images else []
    ids = torch.tensor([[5, *image, *range(6, 6 + num_text)]] * num_samples)
    labels = torch.full_like(ids, IGNORED_LABEL)
    labels[:, -3:] = ids[:, -3:]
    images = torch.zeros(num_samples, 3, 16, 16, dtype=torch.uint8) if with_images else None
    return ConversationBatch(keys=("k",) * num_samples, input_ids=ids, labels=labels, images=images)


LORA = LoraConfig(rank=3, dropout=0.0)
CASES: list[tuple[tuple[Part, ...], LoraConfig | None]] = [
    (("projector",), None),
    (("language_model",), None),
    (("projector", "language_model"), None),
    (("projector", "language_model"), LORA),
    (("vision_tower",), None),
    (("vision_tower", "projector", "language_model"), None),
    (("vision_tower", "projector", "language_model"), LORA),
]


@pytest.mark.parametrize(
    ("trainable", "lora"), CASES, ids=lambda case: "+".join(case) if isinstance(case, tuple) else ""
)
def test_the_closed_form_counts_what_operators_do(trainable: tuple[Part, ...], lora: LoraConfig | None) -> None:
    llava, settings = small_llava(), phase(*trainable, lora=lora)
    freeze(llava, settings)
    if lora is not None:
        add_adapters(llava, lora, seed=0)
    cost = CaptionerCost(llava)
    conversations = batch(2, 7, with_images=True)
    num_tokens = conversations.input_ids.shape[1]
    # Plain attention computes the masked half too.
    content = replace(Content.of_sample(num_tokens, 3, 1), num_pairs=num_tokens**2)
    assert measured_flops(llava, conversations) == 2 * cost.of(content).total


def test_text_alone_by_operators() -> None:
    llava = small_llava()
    freeze(llava, phase("language_model"))
    conversations = batch(2, 7, with_images=False)
    num_tokens = conversations.input_ids.shape[1]
    content = replace(Content.of_sample(num_tokens, 3, 0), num_pairs=num_tokens**2)
    assert measured_flops(llava, conversations) == 2 * CaptionerCost(llava).of(content).total


def measured_flops(llava: LlavaForConditionalGeneration, conversations: ConversationBatch) -> int:
    geometry = PixelGeometry(image_size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = SupervisedCaptioner(llava, Normaliser(geometry)).train()
    ledger = FlopLedger()
    ledger.measure(lambda: AnswerTask().loss(model, conversations, 0, torch.Generator()).total.backward())
    return ledger.total
