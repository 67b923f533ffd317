"""The example published with a captioner, and captioners that would be asked otherwise than they were trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagetext.conversations import IMAGE_TOKEN, PAPER_PROMPT
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.model import load_captioner
from llava_train.parity import FILE_NAME, check_example, save_example
from runtime.errors import UserError
from tests.imagetext.talk import llama_tokenizer
from tests.llava_train import tiny


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder with a tokenizer and its example, an image of four tokens."""
    tokenizer = llama_tokenizer(tmp_path / "published")
    save_example(tokenizer, 4, tmp_path / "published")
    return tmp_path / "published"


def check(folder: Path, num_image_tokens: int = 4) -> None:
    check_example(folder, load_hf_tokenizer(folder), num_image_tokens)


def test_example_holds_messages_ids_mask_and_digest(published: Path) -> None:
    example = json.loads((published / FILE_NAME).read_text())
    tokenizer = load_hf_tokenizer(published)
    assert example["messages"][0] == {"role": "user", "content": f"{IMAGE_TOKEN}\n{PAPER_PROMPT}"}
    assert len(example["input_ids"]) == len(example["supervised"]) == len(example["tokens"])
    answers = [token for token, said in zip(example["input_ids"], example["supervised"], strict=True) if said]
    said = "".join(
        f"{message['content']}<|eot_id|>" for message in example["messages"] if message["role"] == "assistant"
    )
    assert tokenizer.decode(answers) == said
    assert example["tokens"].count(IMAGE_TOKEN) == example["num_image_tokens"] == 4
    assert len(example["chat_template_sha256"]) == 64


def test_reloaded_tokenizer_renders_the_same(published: Path) -> None:
    check(published)


def test_captioners_of_others_have_no_example(published: Path) -> None:
    (published / FILE_NAME).unlink()
    check(published)


def edit_template(folder: Path, old: str, new: str) -> None:
    file = folder / "chat_template.jinja"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def edit_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))


def swap_two_tokens(content: dict[str, Any]) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]


def lose_merges(content: dict[str, Any]) -> None:
    content["model"]["merges"] = []


NOT_TEMPLATE = "Its tokenizer files or the libraries are not those that it was trained with"
NOT_TOKENIZER = "Its chat template is not the one that it was trained with"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: edit_template(folder, "assistant<|end_header_id|>\\n\\n'", "assistant<|end_header_id|>\\n'"),
            rf"found .*<\|end_header_id\|> \[-Ċ x2-\] \{{\+Ċ\+\}}, wanted .*{NOT_TOKENIZER}",
        ),
        (
            lambda folder: edit_template(folder, "{{- bos_token -}}", "{{- bos_token + bos_token -}}"),
            rf"found \[-<\|begin_of_text\|>-\] \{{\+<\|begin_of_text\|> x2\+\}} <\|start.*{NOT_TOKENIZER}",
        ),
        (
            lambda folder: edit_template(folder, "said.text | trim", "said.text | trim | replace('legible', 'clear')"),
            rf"found .*\[-.*-\] \{{\+.*\+\}}.*{NOT_TOKENIZER}",
        ),
        (lambda folder: edit_tokenizer(folder, lose_merges), rf"found .*\{{\+.*\+\}}.*more places.*{NOT_TEMPLATE}"),
        (
            lambda folder: edit_tokenizer(folder, swap_two_tokens),
            rf"found at token \d+: [ae] is number \d+, was number \d+.*{NOT_TEMPLATE}",
        ),
    ],
    ids=["prompt", "bos", "later turn", "merges", "numbers"],
)
def test_another_rendering_is_refused_with_a_diff(
    published: Path, change: Callable[[Path], None], message: str
) -> None:
    change(published)
    with pytest.raises(UserError, match=rf"prompts are rendered otherwise than in training: {message}"):
        check(published)


def test_another_number_of_image_tokens_is_refused(published: Path) -> None:
    with pytest.raises(UserError, match="another number of tokens than in training: found 9, wanted 4"):
        check(published, num_image_tokens=9)


def test_published_captioner_carries_the_example_and_no_marks(export: Path) -> None:
    assert json.loads((export / FILE_NAME).read_text())["num_image_tokens"] == tiny.NUM_IMAGE_TOKENS
    assert "generation %}" not in (export / "chat_template.jinja").read_text()


def test_captioner_with_another_template_is_not_loaded(export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captioner"
    shutil.copytree(export, folder)
    load_captioner(folder, device="cpu")
    edit_template(folder, "<|start_header_id|>assistant", "<|start_header_id|>model")
    with pytest.raises(UserError, match=r"captioner: prompts are rendered otherwise than in training: found .*\[-"):
        load_captioner(folder, device="cpu")
