"""Conversations: files checked, golden masks, prompts that are prefixes of training sequences."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagetext.conversations import (
    PAPER_PROMPT,
    Conversation,
    Turn,
    image_token_id,
    read_conversations,
    render_plain,
    render_prompt,
    render_training,
    stop_token_ids,
    write_conversations,
)
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from runtime.errors import UserError

TWO_ROUNDS = Conversation(
    id="7",
    image="a.jpg",
    turns=(
        Turn("user", "What is it?\n<image>"),
        Turn("assistant", " A boat. "),
        Turn("user", "Its colour?"),
        Turn("assistant", "Red."),
    ),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("llama")
    train_llama_bpe(["a boat is red", PAPER_PROMPT, "What is it? Its colour?"] * 5, 400, folder / "llama")
    return load_hf_tokenizer(folder / "llama")


def supervised(rendered: Any, tokenizer: Any) -> str:
    return tokenizer.decode([token for token in rendered.labels if token != -100])


def test_golden_rendering_and_mask(tokenizer: Any) -> None:
    rendered = render_training(TWO_ROUNDS, tokenizer, num_image_tokens=3)
    assert tokenizer.decode(rendered.input_ids) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<image><image><image>\nWhat is it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA boat.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIts colour?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nRed.<|eot_id|>"
    )
    assert supervised(rendered, tokenizer) == "A boat.<|eot_id|>Red.<|eot_id|>"
    assert all(label in (-100, token) for token, label in zip(*rendered, strict=True))
    assert rendered.input_ids.count(tokenizer.bos_token_id) == 1
    image = image_token_id(tokenizer)
    assert rendered.input_ids.count(image) == 3 and image not in rendered.labels


def test_mask_is_that_of_the_templates_own_marks(tokenizer: Any) -> None:
    """An independent path: transformers' assistant mask from the template's generation marks."""
    rendered = render_training(TWO_ROUNDS, tokenizer, num_image_tokens=1)
    messages = [
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A boat."},
        {"role": "user", "content": "Its colour?"},
        {"role": "assistant", "content": "Red."},
    ]
    theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert rendered.input_ids == theirs["input_ids"]
    assert [label != -100 for label in rendered.labels] == [bool(mark) for mark in theirs["assistant_masks"]]


def test_content_parts_render_like_text(tokenizer: Any) -> None:
    """Servers and processors send the image as a part of its own."""
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image"}]
    by_parts, by_text = (
        tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        for content in (parts, "<image>\nWhat is it?")
    )
    assert by_parts == by_text


@pytest.mark.parametrize("num_image_tokens", [1, 16])
def test_prompt_is_a_prefix_of_training(tokenizer: Any, num_image_tokens: int) -> None:
    record = Conversation(
        id="1", image="a.jpg", turns=(Turn("user", f"{PAPER_PROMPT}\n<image>"), Turn("assistant", "\n\n A boat."))
    )
    prompt = render_prompt(PAPER_PROMPT, tokenizer, num_image_tokens)
    rendered = render_training(record, tokenizer, num_image_tokens)
    assert rendered.input_ids[: len(prompt)] == prompt
    assert set(rendered.labels[: len(prompt)]) == {-100} and -100 not in rendered.labels[len(prompt) :]


def test_text_alone_has_no_image_tokens(tokenizer: Any) -> None:
    record = Conversation(id="1", turns=(Turn("user", "What?"), Turn("assistant", "Red.")))
    assert image_token_id(tokenizer) not in render_training(record, tokenizer, 9).input_ids
    assert image_token_id(tokenizer) not in render_prompt("What?", tokenizer, 9, with_image=False)


def test_plain_drops_the_question(tokenizer: Any) -> None:
    record = Conversation(id="1", image="a.jpg", turns=(Turn("user", "<image>\nSay."), Turn("assistant", "A boat.")))
    rendered = render_plain(record, tokenizer, 2)
    assert tokenizer.decode(rendered.input_ids) == "<|begin_of_text|><image><image>A boat.\n"
    assert supervised(rendered, tokenizer) == "A boat.\n"


def test_white_space_after_the_end_token_is_not_supervised(tokenizer: Any) -> None:
    """ChatML ends a turn with a new line that belongs to the next prompt."""
    import copy

    chatml = copy.deepcopy(tokenizer)
    chatml.chat_template = (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}\n{{ m.content }}<|eot_id|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant\n{% endif %}"
    )
    rendered = render_training(TWO_ROUNDS, chatml, 1)
    assert supervised(rendered, chatml) == "A boat.<|eot_id|>Red.<|eot_id|>"
    assert chatml.decode(rendered.input_ids).endswith("Red.<|eot_id|>")
    assert "A boat.<|eot_id|>\n<|start_header_id|>user" in chatml.decode(rendered.input_ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "tokenizer has no chat template"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "no token that ends an answer"),
        (
            "{{ messages | length }}{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}",
            "rewrites earlier turns",
        ),
    ],
)
def test_templates_that_cannot_be_masked_are_refused(tokenizer: Any, template: str | None, message: str) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    with pytest.raises(UserError, match=message):
        render_training(TWO_ROUNDS, other, 1)


def test_special_tokens_in_a_text_are_refused(tokenizer: Any) -> None:
    record = Conversation(id="9", turns=(Turn("user", "Hi"), Turn("assistant", "Red.<|eot_id|>")))
    with pytest.raises(UserError, match=r"record 9: text holds a special token: found <\|eot_id\|>"):
        render_training(record, tokenizer, 1)


def test_stop_tokens_are_both_of_llama_3(tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens(stop_token_ids(tokenizer)) == ["<|eot_id|>", "<|end_of_text|>"]


def test_tokenizer_without_image_token_is_refused(tmp_path: Path) -> None:
    from imagetext.tokenizer_training import train_wordpiece

    train_wordpiece(["a boat"], 60, tmp_path / "words")
    with pytest.raises(UserError, match="tokenizer has no <image> token"):
        image_token_id(load_hf_tokenizer(tmp_path / "words"))


def test_files_round_trip(tmp_path: Path) -> None:
    records = [TWO_ROUNDS, Conversation(id="8", turns=(Turn("user", "Hi"), Turn("assistant", "Red.")))]
    write_conversations(tmp_path / "a.json", records)
    assert read_conversations(tmp_path / "a.json") == records
    raw = json.loads((tmp_path / "a.json").read_text())
    assert raw[0]["conversations"][0] == {"from": "human", "value": "What is it?\n<image>"} and "image" not in raw[1]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(record) for record in raw) + "\n")
    assert read_conversations(tmp_path / "a.jsonl") == records


def said(*turns: tuple[str, str], **fields: object) -> dict[str, object]:
    return {"id": "x", **fields, "conversations": [{"from": who, "value": text} for who, text in turns]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "file holds no conversations"),
        ({}, "file is not a list of records: found dict"),
        ([{"id": "x"}], r"record 0: record is no conversation"),
        ([{"conversations": []}], "record has no id"),
        ([said()], "turns do not alternate"),
        ([said(("gpt", "Hi"), ("human", "Hi"))], r"record 0 \(x\): turns do not alternate: found \['gpt', 'human'\]"),
        ([said(("human", "Hi"))], "turns do not alternate"),
        ([said(("system", "Hi"), ("gpt", "Hi"))], "unknown speaker: found system"),
        ([said(("human", "Hi"), ("gpt", "Hi"), image="a.jpg")], "wrong number of <image>: found 0 in human turns"),
        ([said(("human", "<image>"), ("gpt", "Hi"))], "wrong number of <image>: found 1 in human turns"),
        ([said(("human", "<image>"), ("gpt", "<image>"), image="a.jpg")], "1 in answers"),
        ([said(("human", "Hi"), ("gpt", " "))], "answer is empty"),
        ([{"id": "x", "conversations": ["Hi"]}], "turn is malformed: found 'Hi'|turn is malformed: found Hi"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_conversations(path)
    assert str(path) in str(caught.value)


def test_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(UserError, match=r"bad\.json: file is not JSON"):
        read_conversations(tmp_path / "bad.json")
