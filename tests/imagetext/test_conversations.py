"""Conversations: files checked, prompts, and the tokens that end answers."""

import copy
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
    render_prompt,
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


def test_text_alone_has_no_image_tokens(tokenizer: Any) -> None:
    assert render_prompt("What?", tokenizer, 9).count(image_token_id(tokenizer)) == 9
    assert image_token_id(tokenizer) not in render_prompt("What?", tokenizer, 9, with_image=False)


def test_prompt_needs_a_chat_template(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = None
    with pytest.raises(UserError, match=r"tokenizer has no chat template\. Save one with it"):
        render_prompt("What?", other, 1)


def test_special_stop_token_of_chatml_counts(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<|im_end|>"], special_tokens=True)
    assert other.convert_ids_to_tokens(stop_token_ids(other)) == ["<|eot_id|>", "<|end_of_text|>", "<|im_end|>"]


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


def test_records_are_written_as_the_library_writes_a_list(tmp_path: Path) -> None:
    turns = (Turn("user", "Two\nlines"), Turn("assistant", "Émigré"))
    for count in (0, 1, 3):
        records = [Conversation(id=str(number), turns=turns) for number in range(count)]
        write_conversations(tmp_path / "a.json", iter(records))
        text = (tmp_path / "a.json").read_text()
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
        assert len(json.loads(text)) == count


def test_turns_without_their_other_half_are_left_out(tmp_path: Path) -> None:
    """Published conversations were cut out of longer ones: LLaVA's trainer leaves such turns out too."""
    cut = said(("gpt", "Before"), ("human", "Hi"), ("gpt", "Hello"), ("human", "And?"))
    (tmp_path / "a.json").write_text(json.dumps([cut]))
    [record] = read_conversations(tmp_path / "a.json")
    assert record.turns == (Turn("user", "Hi"), Turn("assistant", "Hello"))


def test_empty_answers_are_read_and_written(tmp_path: Path) -> None:
    """Published conversations hold some; what is to be learned from them is the renderer's matter."""
    (tmp_path / "a.json").write_text(json.dumps([said(("human", "Hi"), ("gpt", ""), ("human", "And?"), ("gpt", " "))]))
    records = read_conversations(tmp_path / "a.json")
    assert [turn.text for turn in records[0].turns] == ["Hi", "", "And?", " "]
    write_conversations(tmp_path / "b.json", records)
    assert read_conversations(tmp_path / "b.json") == records


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
        ([said(("human", "Hi"), ("gpt", "\ud83d"))], "turn holds half of a surrogate pair"),
        ([said(("human", "<image>"), ("gpt", "Hi"), image=["a.jpg", "b.jpg"])], "image is no name: found"),
        ([said(("human", "<image>"), ("gpt", "Hi"), image="")], "image is no name: found ''"),
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
