"""Any vision-language model that transformers serves: here a LLaVA-NeXT, which cuts pictures into tiles."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
)

from imagetext.conversations import image_token_id, stop_token_ids
from imagetext.tokenizers import load_hf_tokenizer
from recaption.captioners.base import Answered, Captioner, Failed, Hole, Item, Request, UnitEnd
from recaption.captioners.opening import identify_captioner, open_captioner
from recaption.captioners.vision_language_captioner import VisionLanguageCaptioner
from recaption.config import RecaptionConfig
from recaption.named_prompts import Decoding
from runtime.errors import UserError
from tests.recaption.captioners.conftest import config, picture

PROMPT, SHORT = "What is it? Describe it as well as you can.", "What is it?"
SIZES = [(24, 20), (60, 15), (15, 60), (40, 40), (17, 16), (33, 31)]


@pytest.fixture(scope="session")
def next_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA-NeXT with the tiny captioner's tokenizer."""
    folder = tmp_path_factory.mktemp("llava_next")
    tokenizer = load_hf_tokenizer(model)
    pinpoints = [[16, 32], [32, 16], [32, 32]]
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=16, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256,
    )  # fmt: skip
    shape = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id(tokenizer),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-2,
    )
    torch.manual_seed(0)
    llava = LlavaNextForConditionalGeneration(shape)
    with torch.no_grad():
        for weight in llava.parameters():
            weight.mul_(6.0)
    llava.generation_config.eos_token_id = stop_token_ids(tokenizer)
    llava.save_pretrained(folder)
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_grid_pinpoints=pinpoints
    )
    processor = LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    return folder


def opened(folder: Path, **fields: Any) -> Captioner:
    return open_captioner(settings(folder, **fields))


def settings(folder: Path, **fields: Any) -> RecaptionConfig:
    return config(folder, **{"prompt": PROMPT, "batch_size": 6, **fields})


@pytest.fixture(scope="module")
def captioner(next_model: Path) -> Captioner:
    return opened(next_model)


def requests(captioner: Captioner, tickets: Sequence[int], prompts: tuple[str, ...] = (PROMPT,)) -> list[Item]:
    return [
        Request(
            ticket=ticket,
            picture=captioner.prepare(picture(ticket, SIZES[ticket % len(SIZES)])),
            prompts=prompts,
            key=f"{ticket:05d}",
        )
        for ticket in tickets
    ]


def texts(captioner: Captioner, items: Sequence[Item]) -> dict[int, tuple[str, ...]]:
    results = list(captioner.answer(iter(items)))
    assert all(isinstance(result, Answered) for result in results), results
    return {
        result.ticket: tuple(caption.text for caption in result.captions)
        for result in results
        if isinstance(result, Answered)
    }


def test_captions_are_those_of_transformers_own_pipeline(captioner: Captioner, next_model: Path) -> None:
    """Each picture alone, by the documented calls: nothing is padded, drawn or chosen by us."""
    model = LlavaNextForConditionalGeneration.from_pretrained(next_model).eval()
    processor = LlavaNextProcessor.from_pretrained(next_model)
    found = list(captioner.answer(iter(requests(captioner, range(6)))))
    for ticket, result in enumerate(found):
        assert isinstance(result, Answered) and result.ticket == ticket
        content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        image = picture(ticket, SIZES[ticket])
        inputs = processor(images=image, text=text, add_special_tokens=False, return_tensors="pt")
        said = model.generate(
            **inputs, max_new_tokens=12, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        ids = said.sequences[0, inputs["input_ids"].shape[1] :]
        logprobs = [float(step[0].log_softmax(-1)[token]) for step, token in zip(said.logits, ids, strict=True)]
        (caption,) = result.captions
        assert caption.text == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
        # Padding beside longer prompts changes the order of float32 sums.
        assert caption.mean_logprob == pytest.approx(np.mean(logprobs), abs=1e-4)
    assert len({result.captions[0].text for result in found if isinstance(result, Answered)}) > 1


def test_the_kind_of_model_chooses_the_captioner(captioner: Captioner) -> None:
    assert isinstance(captioner, VisionLanguageCaptioner) and isinstance(captioner, Captioner)


def test_healthy_rows_do_not_depend_on_holes_and_bad_ones_are_named(captioner: Captioner) -> None:
    whole = requests(captioner, range(9))
    broken: list[Item] = [Hole() if place in (1, 4) else item for place, item in enumerate(whole)]
    broken[2] = Request(ticket=2, picture=np.zeros((3, 0, 5), dtype=np.uint8), prompts=(PROMPT,))
    wanted = texts(captioner, [*whole, UnitEnd()])
    results = {result.ticket: result for result in captioner.answer(iter([*broken, UnitEnd()]))}
    bad = results.pop(2)
    assert isinstance(bad, Failed) and bad.kind == "rejected"
    assert results.keys() == {0, 3, 5, 6, 7, 8}
    for ticket, result in results.items():
        assert isinstance(result, Answered) and result.captions[0].text == wanted[ticket][0]


def test_draws_depend_on_seed_key_and_prompt_alone(next_model: Path) -> None:
    drawn = opened(next_model, temperature=1.0, top_k=30, seed=1)
    together = texts(drawn, requests(drawn, range(6)))
    assert texts(drawn, requests(drawn, [4])) == {4: together[4]}
    other = opened(next_model, temperature=1.0, top_k=30, seed=2)
    assert texts(other, requests(other, range(6))) != together
    likeliest = opened(next_model, temperature=1.0, top_k=1)
    greedy = opened(next_model)
    assert texts(likeliest, requests(likeliest, range(3))) == texts(greedy, requests(greedy, range(3)))


def test_rows_asked_again_are_answered_as_they_say(next_model: Path, captioner: Captioner) -> None:
    usual = [one for one in requests(captioner, range(3)) if isinstance(one, Request)]
    drawn = Decoding(temperature=1.0, top_k=30, seed=1)
    again: list[Item] = [replace(one, decoding=drawn, max_new_tokens=17) for one in usual]
    drawing = opened(next_model, temperature=1.0, top_k=30, seed=1, max_new_tokens=17)
    assert texts(captioner, again) == texts(drawing, usual)


def test_several_prompts_are_answered_in_their_order(next_model: Path, captioner: Captioner) -> None:
    several = opened(next_model, more_prompts={"short": SHORT})
    both = texts(several, requests(several, range(3), (PROMPT, SHORT)))
    for place, prompt in enumerate((PROMPT, SHORT)):
        alone = texts(captioner, requests(captioner, range(3), (prompt,)))
        assert {ticket: (said[place],) for ticket, said in both.items()} == alone


def test_pictures_are_shrunk_and_can_be_handed_on(next_model: Path) -> None:
    prepare = pickle.loads(pickle.dumps(opened(next_model, max_side_px=30).prepare))
    assert prepare(picture(0, (60, 15))).shape == (3, 8, 30)
    assert prepare(picture(0, (20, 15))).shape == (3, 15, 20)


def test_the_id_covers_what_shapes_captions(next_model: Path, captioner: Captioner) -> None:
    base = settings(next_model)
    assert identify_captioner(base) == captioner.captioner_id
    changes: list[dict[str, Any]] = [{"max_side_px": 99}, {"max_new_tokens": 3}, {"temperature": 1.0}, {"seed": 4}]
    assert len({identify_captioner(settings(next_model, **change)) for change in [{}, *changes]}) == 5


def test_a_model_without_a_processor_is_named(next_model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / name).write_bytes((next_model / name).read_bytes())
    with pytest.raises(UserError, match="processor"):
        opened(tmp_path)
