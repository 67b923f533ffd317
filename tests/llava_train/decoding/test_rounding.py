"""In bfloat16 on a CPU the engine rounds where published modules round, so that it says what they say."""

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from llava_train.attention import captioner_attention
from llava_train.decoding import attending, pointwise, weights
from llava_train.decoding.engine import SlotEngine
from llava_train.decoding.questions import Ask, EngineSettings
from llava_train.decoding.weights import fuse_language
from llava_train.generation import Answer, generate
from tests.llava_train.decoding.random_llava import MAX_NEW_TOKENS, STOP_IDS, asks, random_llava, see

CPU = torch.device("cpu")
PICTURES = asks(48)


@pytest.fixture(scope="module")
def llava() -> LlavaForConditionalGeneration:
    model = random_llava()
    model.set_attn_implementation(captioner_attention(CPU))
    return model


@pytest.fixture(scope="module")
def by_modules(llava: LlavaForConditionalGeneration) -> list[Answer]:
    ids = torch.tensor([ask.questions[0].token_ids for ask in PICTURES])
    pixels = torch.from_numpy(np.stack([ask.pixels for ask in PICTURES])).float() / 64 - 2
    with torch.autocast("cpu", torch.bfloat16):
        return generate(llava, ids, pixels, max_new_tokens=MAX_NEW_TOKENS, stop_ids=STOP_IDS)


def by_engine(llava: LlavaForConditionalGeneration, pictures: list[Ask]) -> list[Answer]:
    def see_in_bfloat16(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return see(llava)(images)

    settings = EngineSettings(max_new_tokens=MAX_NEW_TOKENS, stop_ids=STOP_IDS, num_slots=len(pictures))
    engine = SlotEngine(llava, see_in_bfloat16, fuse_language(llava, device=CPU, dtype=torch.bfloat16), settings)
    return [one.answers[0] for one in engine.answer(pictures)]


def test_answers_in_bfloat16_are_the_modules_own(
    llava: LlavaForConditionalGeneration, by_modules: list[Answer]
) -> None:
    said = by_engine(llava, PICTURES)
    assert [answer.token_ids for answer in said] == [answer.token_ids for answer in by_modules]
    assert [answer.mean_logprob for answer in said] == pytest.approx([one.mean_logprob for one in by_modules], abs=1e-3)


def test_rounding_less_often_parts_answers(
    llava: LlavaForConditionalGeneration, by_modules: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (attending, pointwise, weights):
        monkeypatch.setattr(module, "rounds_as_published", lambda *_: False)
    said = by_engine(llava, PICTURES)
    assert [answer.token_ids for answer in said] != [answer.token_ids for answer in by_modules]
