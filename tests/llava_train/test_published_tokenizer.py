"""Servers that tokenize and stop by the published tokenizer's defaults ask and end as training does."""

import copy
from pathlib import Path
from typing import Any

import pytest

from imagetext.chat_templates import CHAT_TEMPLATES
from imagetext.conversations import stop_token_ids
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.language_models import image_tokenizer
from llava_train.published_tokenizer import published_tokenizer
from tests.imagetext.talk import dressed, llama_tokenizer
from tests.llava_train import published

ASKED = ({"role": "user", "content": "What is it?"},)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base LLaMA-3's tokenizer: it adds BOS by itself, its EOS ends texts and no answers."""
    folder = tmp_path_factory.mktemp("base")
    published.write_base_tokenizer(folder)
    return image_tokenizer(folder)


def prompt(tokenizer: Any) -> str:
    return tokenizer.apply_chat_template(list(ASKED), tokenize=False, add_generation_prompt=True)


def test_base_models_tokenizer_begins_once_and_ends_answers(base: Any, tmp_path: Path) -> None:
    assert (base.eos_token, base(prompt(base))["input_ids"].count(base.bos_token_id)) == ("<|end_of_text|>", 2)
    published_tokenizer(base).save_pretrained(tmp_path)
    again = load_hf_tokenizer(tmp_path)
    assert again.eos_token == "<|eot_id|>"
    assert again(prompt(again))["input_ids"] == base.encode(prompt(base), add_special_tokens=False)
    assert set(stop_token_ids(again)) == set(stop_token_ids(base))
    assert again.get_vocab() == base.get_vocab()


def test_the_tokenizer_of_training_stays_as_it_is(base: Any) -> None:
    before = copy.deepcopy(base)
    published_tokenizer(base)
    assert base.eos_token == before.eos_token
    assert base("a")["input_ids"] == before("a")["input_ids"]


@pytest.mark.parametrize(("family", "bos", "eos"), [("vicuna", "<s>", "</s>"), ("chatml", None, "<|im_end|>")])
def test_templates_that_end_answers_with_eos_keep_it(tmp_path: Path, family: str, bos: str | None, eos: str) -> None:
    tokenizer = dressed(llama_tokenizer(tmp_path), CHAT_TEMPLATES[family].plain, bos=bos, eos=eos)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    found = published_tokenizer(tokenizer)
    assert found.eos_token == eos
    assert found(prompt(found))["input_ids"] == tokenizer.encode(prompt(tokenizer), add_special_tokens=False)
