"""Every conversation, template and tokenizer that is refused, and in which words."""

from typing import Any

import numpy as np
import pytest

from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import (
    Conversation,
    Rendered,
)
from imagetext.rendering_errors import NoAnswerError, RenderingError
from runtime.errors import UserError
from tests.imagetext import published_templates
from tests.imagetext.talk import conversation, dressed, llama3_instruct_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return llama3_instruct_tokenizer(tmp_path_factory.mktemp("talk") / "llama")


def test_token_half_in_an_answer_is_refused(tokenizer: Any) -> None:
    """Mistral sets answers off by no space: a bracket may grow together with the prompt's last one."""
    other = dressed(tokenizer, published_templates.MISTRAL)
    renderer = ConversationRenderer(other, num_image_tokens=1)
    record = conversation("What?", "(a boat)", name="9")
    renderer.check(record)
    message = r"record 9: a token lies half in an answer: found '\]\(' in .*\[/INST\]\(a boat.*tokens \[<s> \["
    with pytest.raises(RenderingError, match=message) as caught:
        renderer(record)
    assert caught.value.reason == "token_half_in_answer"


MARKS = "{% generation %}{{ m.content }}<|eot_id|>{% endgeneration %}"
TURNS = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}:{% else %}ANSWER{% endif %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "tokenizer has no chat template. Name the one to train with by chat_template: llama3, chatml"),
        (
            "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
            r"does not mark what the assistant says.*: found '.*What is it\?A boat\.', tokens \[",
        ),
        (
            f"{{{{ bos_token }}}}{TURNS.replace('ANSWER', MARKS.replace('<|eot_id|>', ''))}",
            r"no token that ends an answer: found an answer that ends in \[.*\], wanted one of \[<\|end_of_text",
        ),
        (TURNS.replace("ANSWER", MARKS), r"does not begin with one <\|begin_of_text\|>: found 0 in tokens \[<image>"),
        (
            f"{{{{ bos_token + bos_token }}}}{TURNS.replace('ANSWER', MARKS)}",
            r"does not begin with one <\|begin_of_text\|>: found 2 in tokens \[<\|begin_of_text\|> x2",
        ),
        (
            f"{{{{ bos_token }}}}{TURNS.replace('ANSWER', '-' + MARKS)}",
            r"asks otherwise than it trains: found .* : \[---\], wanted a prompt that ends where",
        ),
        (
            f"{{{{ bos_token }}}}{TURNS.replace('ANSWER', MARKS.replace('m.content', 'm.content | upper'))}",
            r"record probe: chat template does not keep answers as they are: found 2 marked, such as 'A BOAT\.<\|eot",
        ),
        (
            f"{{{{ bos_token }}}}{TURNS.replace('{{ m.content }}:', MARKS).replace('ANSWER', MARKS)}",
            r"does not keep answers as they are: found 4 marked",
        ),
        (
            "{{ raise_exception('no') }}{% generation %}{% endgeneration %}",
            "chat template fails: found TemplateError: no",
        ),
    ],
)
def test_templates_that_cannot_be_trained_with_are_refused(tokenizer: Any, template: str | None, message: str) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    with pytest.raises(UserError, match=message):
        ConversationRenderer(other, num_image_tokens=1)


REFUSED = {
    "special_token": (
        conversation("Hi", "Red.<|eot_id|>"),
        r"record 7: text holds a special token: found <\|eot_id\|> in turn 2, 'Red\.<\|eot_id\|>'",
    ),
    "reserved_token": (conversation("<|start_header_id|>", "Red."), r"found <\|start_header_id\|> in turn 1"),
    "joined_token": (conversation("<|eot_<image>id|>", "Red.", image=True), r"found <\|eot_id\|> in turn 1"),
    "image_without_mark": (
        conversation("What is it?", "Red.", image=True),
        r"record 7: wrong number of <image>: found 0 in 'What is it\?\\nRed\.', tokens \[.+\], wanted 1, for its image",
    ),
    "mark_without_image": (
        conversation("<image>\nWhat?", "Red."),
        r"found 1 in '<image>.*wanted 0, since it has no im",
    ),
    "two_marks": (conversation("<image><image>", "Red.", image=True), r"found 2 in .*tokens \[<image> x2"),
    "mark_in_answer": (conversation("What?", "An <image>."), r"found 1 in .*wanted 0"),
    "silent": (
        conversation("<image>\nWhat?", " ", "And?", "\n", image=True),
        r"record 7: all answers are empty: found '<image>\\nWhat\?\\n \\nAnd\?\\n\\n', tokens \[<image> .+\], wanted "
        r"an answer with something in it\. Take the record out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_conversations_that_cannot_be_trained_on_are_refused(tokenizer: Any, name: str) -> None:
    record, message = REFUSED[name]
    renderer = ConversationRenderer(tokenizer, num_image_tokens=2)
    for refuse in (renderer, renderer.check):
        with pytest.raises(RenderingError, match=message):
            refuse(record)


def test_conversation_without_an_answer_left_shows_text_and_tokens(tokenizer: Any) -> None:
    renderer = ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=30)
    record = conversation("Is it? " * 30, "Yes.", name="long")
    message = (
        r"record long: no token of an answer is left to supervise: found 'Is it\? .*' \.\.\. '.*', \d+ tokens "
        r"\[<\|begin_of_text\|> .* \.\.\. .*\], wanted an answer that begins within the first 30 of its tokens"
    )
    with pytest.raises(RenderingError, match=message) as caught:
        renderer.check(record)
    assert caught.value.reason == "no_answer_left"
    assert isinstance(caught.value, NoAnswerError)
    renderer.check(conversation("Is it?", "Yes. " * 300))


@pytest.mark.parametrize("rendering", ["chat", "plain"])
def test_conversations_without_an_answer_are_told_from_ill_formed_ones(tokenizer: Any, rendering: str) -> None:
    renderer = ConversationRenderer(tokenizer, num_image_tokens=2, rendering=rendering)
    with pytest.raises(NoAnswerError) as caught:
        renderer(conversation("Hi", ""))
    assert caught.value.reason == "empty_answers"
    with pytest.raises(RenderingError) as ill_formed:
        renderer(conversation("Hi", "Red.<|eot_id|>"))
    assert not isinstance(ill_formed.value, NoAnswerError)


def test_answers_that_may_be_cut_are_told_by_the_bytes_of_questions(tokenizer: Any) -> None:
    """No record that the cut leaves nothing of may be missed; without a picture there is as much more room."""
    cutting = ConversationRenderer(tokenizer, num_image_tokens=9, max_length_tokens=120)
    for has_image in (True, False):
        for length in range(90):
            record = conversation("é" * length + "<image>" * has_image, "Red.", image=has_image)
            num_bytes = np.array([len(record.turns[0].text.encode())])
            try:
                cutting(record)
            except NoAnswerError:
                assert cutting.may_cut_answers(num_bytes, np.array([has_image]))[0], length
    few, many = np.array([40, 40]), np.array([400, 400])
    pictures = np.array([True, False])
    assert not cutting.may_cut_answers(few, pictures).any() and cutting.may_cut_answers(many, pictures).all()
    between = np.array([120 - cutting._num_tokens_before_answer] * 2)
    assert cutting.may_cut_answers(between, pictures).tolist() == [True, False]
    whole = ConversationRenderer(tokenizer, num_image_tokens=9)
    assert not whole.may_cut_answers(many, pictures).any()


def test_check_tokenizes_only_doubtful_records(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=200)
    calls: list[Conversation] = []
    monkeypatch.setattr(renderer, "_whole", lambda record: calls.append(record) or Rendered([1], [1]))
    renderer.check(conversation("Is it?", "Yes. " * 300))
    assert not calls
    renderer.check(conversation("Is it? " * 30, "Yes."))
    assert len(calls) == 1


def test_copy_that_stops_rendering_alike_is_refused(tokenizer: Any) -> None:
    """A template may agree on every proof and part later; then nothing is trained on what differs."""
    content = "message['content']"
    parting = published_templates.CHATML.replace(content, f"{content} | replace('zebra', 'horse')")
    other = dressed(tokenizer, parting, bos=None, eos="<|im_end|>")
    renderer = ConversationRenderer(other, num_image_tokens=1)
    renderer(conversation("What?", "A boat."))
    message = r"renders otherwise than our copy of it, in record z: found .*\[-zebra-\] \{\+horse\+\}"
    with pytest.raises(UserError, match=message):
        renderer(conversation("What?", "A zebra.", name="z"))


def test_tokenizer_without_offsets_is_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(UserError, match="can't tell where its tokens lie: wanted a fast tokenizer"):
        ConversationRenderer(tokenizer, num_image_tokens=2)
