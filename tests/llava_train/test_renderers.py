"""Chat templates of language models that a run starts from: missing, named, unknown, published without image parts."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from imagetext.chat_templates import LLAMA3
from imagetext.conversation_index import open_conversations
from imagetext.conversation_renderer import ConversationRenderer
from llava_train import phases, renderers
from llava_train.corpus import PhaseConversations
from llava_train.renderers import check_conversations
from runtime.errors import UserError
from tests.imagetext.published_templates import LLAMA3_INSTRUCT
from tests.imagetext.talk import llama_tokenizer
from tests.llava_train import published, tiny


def test_template_by_another_name_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chat_template: unknown chat template: found llama, wanted one of llama3, "):
        dataclasses.replace(tiny.config(root, tmp_path), chat_template="llama")


def test_base_language_model_needs_a_template_by_name(root: Path, tmp_path: Path) -> None:
    llama = published.write_llama(tmp_path / "llama", chat_template=None)
    config = tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"])
    with pytest.raises(UserError, match=r"tokenizer has no chat template\. Name the one to train with by"):
        phases.fine_tune(config)
    # Nothing was made, so that the field may be set in the same folder.
    folder = phases.fine_tune(dataclasses.replace(config, chat_template="llama3"))
    assert (folder / "chat_template.jinja").read_text().strip() == LLAMA3.plain.strip()


def test_unknown_template_without_marks_is_refused_before_anything_is_made(root: Path, tmp_path: Path) -> None:
    unknown = "{{ bos_token }}{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}"
    llama = published.write_llama(tmp_path / "llama", chat_template=unknown)
    message = r"none that we know: found '<\|begin_of_text\|>user> What is it\?\\nassistant> A boat\.\\n', tokens \["
    with pytest.raises(UserError, match=message):
        phases.fine_tune(tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"]))
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_published_template_is_trained_with_and_named_otherwise_is_refused(root: Path, tmp_path: Path) -> None:
    llama = published.write_llama(tmp_path / "llama", chat_template=LLAMA3_INSTRUCT)
    config = tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"])
    with pytest.raises(UserError, match="chat template renders otherwise than 'chatml'"):
        phases.fine_tune(dataclasses.replace(config, chat_template="chatml"))
    assert "generation %}" not in (phases.fine_tune(config) / "chat_template.jinja").read_text()


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> ConversationRenderer:
    tokenizer = llama_tokenizer(tmp_path_factory.mktemp("talk") / "llama")
    return ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=100)


def conversations(folder: Path, *pairs: tuple[str, str]) -> PhaseConversations:
    """Return a phase of one question and answer a conversation, named after their places."""
    records = [
        {"id": place, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}
        for place, (question, answer) in enumerate(pairs)
    ]
    (folder / "a.json").write_text(json.dumps(records))
    return PhaseConversations([open_conversations(folder / "a.json", folder / "cache")])


GOOD, EMPTY, LONG = ("What?", "Red."), ("What?", " "), ("What? " * 99, "Red.")


def test_conversations_without_an_answer_are_told_and_skipped_while_few(
    renderer: ConversationRenderer, tmp_path: Path
) -> None:
    assert check_conversations(conversations(tmp_path, *[GOOD] * 9), renderer, max_bad_share=0.0) is None
    phase = conversations(tmp_path, *[GOOD] * 5, EMPTY, *[GOOD] * 5, LONG, EMPTY)
    said = str(check_conversations(phase, renderer, max_bad_share=0.003))
    assert said.startswith(
        "3 of 13 conversations leave nothing to learn and are skipped (empty_answers 2, no_answer_left 1), the first: "
        "record 5: all answers are empty: found 'What?\\n ', tokens ["
    )
    with pytest.raises(UserError) as refusal:
        check_conversations(phase, renderer, max_bad_share=0.002)
    assert str(refusal.value).startswith("record 5: all answers are empty: found 'What?")
    assert str(refusal.value).endswith(
        "; 3 of 13 conversations leave nothing to learn (empty_answers 2, no_answer_left 1)"
    )


@pytest.mark.parametrize("pair", [EMPTY, LONG])
def test_nothing_but_conversations_without_an_answer_are_refused(
    renderer: ConversationRenderer, tmp_path: Path, pair: tuple[str, str]
) -> None:
    with pytest.raises(UserError, match=r"^record 0: .*; 2 of 2 conversations leave nothing to learn"):
        check_conversations(conversations(tmp_path, pair, pair), renderer, max_bad_share=0.5)


def test_all_conversations_without_an_answer_are_found_and_few_others_looked_at(
    renderer: ConversationRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderers, "CHECKED_CONVERSATIONS", 4)
    phase = conversations(tmp_path, *[GOOD] * 18, EMPTY, LONG, *[GOOD] * 11)
    looked_at: list[str] = []
    check = renderer.check
    monkeypatch.setattr(renderer, "check", lambda record: (looked_at.append(record.id), check(record))[1])
    said = str(check_conversations(phase, renderer, max_bad_share=0.01))
    assert "(empty_answers 1, no_answer_left 1)" in said
    assert looked_at == ["0", "8", "16", "18", "19", "24"]


def test_an_ill_formed_conversation_stops_at_once(renderer: ConversationRenderer, tmp_path: Path) -> None:
    phase = conversations(tmp_path, GOOD, EMPTY, ("What?", "Red.<|eot_id|>"), GOOD)
    with pytest.raises(UserError, match=r"^record 2: text holds a special token: found <\|eot_id\|> in turn 2"):
        check_conversations(phase, renderer, max_bad_share=0.5)


def test_training_tells_what_it_skips_and_counts_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records: list[dict[str, Any]] = json.loads((root / "data" / "text.json").read_text())
    for turn in records[3]["conversations"][1::2]:
        turn["value"] = ""
    config = tiny.config(root, tmp_path / "run")
    (tmp_path / "text.json").write_text(json.dumps(records))
    export = phases.fine_tune(dataclasses.replace(config, data=tmp_path, phases=["language"]))
    assert "phase language: 1 of 12 conversations leave nothing to learn and are skipped" in capsys.readouterr().err
    facts = json.loads((export.parent / "done.json").read_text())["phases"]["language"]
    assert facts["data"] == {"num_samples": 12, "drawn": 24, "skipped_samples": {"empty_answers": 1}}
