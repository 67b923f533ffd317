"""Our annotated copies against the published templates, and what a tokenizer ends up with."""

import copy
from typing import Any

import pytest

from imagetext.chat_marks import marked_template, own_template, render_marked, render_text, settle_chat_template
from imagetext.chat_templates import CHAT_TEMPLATES, LLAVA_PLAIN, ChatTemplate
from runtime.errors import UserError
from tests.imagetext import published_templates
from tests.imagetext.talk import dressed, llama_tokenizer

TALKS = [
    ["Hi"],
    ["Hi", "Hello."],
    ["What is <image> it?", "A boat.\n\n- red", "Sure?", "", "Well?", "Ünï 🚤 {{ x }} 'a' \"b\""],
    ["", "Nothing was asked."],
]
PUBLISHED = {
    "llama3": published_templates.LLAMA3_INSTRUCT,
    "chatml": published_templates.CHATML,
    "qwen2": published_templates.QWEN2,
    "mistral": published_templates.MISTRAL,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return llama_tokenizer(tmp_path_factory.mktemp("talk") / "llama")


def messages(texts: list[str]) -> list[dict[str, str]]:
    return [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("texts", TALKS)
def test_copies_render_as_the_published_template(tokenizer: Any, name: str, texts: list[str]) -> None:
    ours, prompt = CHAT_TEMPLATES[name], len(texts) % 2 == 1
    theirs = render_text(PUBLISHED[name], messages(texts), tokenizer, add_generation_prompt=prompt)
    assert theirs
    for template in (ours.plain, ours.annotated):
        assert render_text(template, messages(texts), tokenizer, add_generation_prompt=prompt) == theirs


def test_llama3_trims_as_published(tokenizer: Any) -> None:
    spaced = messages(["  Hi\n", "\n Hello. "])
    assert render_text(CHAT_TEMPLATES["llama3"].plain, spaced, tokenizer) == render_text(
        published_templates.LLAMA3_INSTRUCT, spaced, tokenizer
    )


@pytest.mark.parametrize("template", [*CHAT_TEMPLATES.values(), LLAVA_PLAIN], ids=lambda template: template.name)
def test_marks_surround_answers_and_their_end(tokenizer: Any, template: ChatTemplate) -> None:
    assert "generation %}" not in template.plain and "{%- generation -%}" in template.annotated
    end = {"llama3": "<|eot_id|>", "plain": "\n", "mistral": "<|eot_id|>", "vicuna": "<|eot_id|>"}
    text, spans = render_marked(template.annotated, messages(["Hi", "Hello.", "So?", "Bye."]), tokenizer)
    ending = end.get(template.name, "<|im_end|>")
    assert [text[start:end].lstrip(" ") for start, end in spans] == [f"Hello.{ending}", f"Bye.{ending}"]


@pytest.mark.parametrize("template", CHAT_TEMPLATES.values(), ids=lambda template: template.name)
def test_image_parts_render_like_text_with_the_image_in_front(tokenizer: Any, template: ChatTemplate) -> None:
    """Servers and processors send the image as a part of its own."""
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image"}]
    by_parts, by_text = (
        render_text(template.plain, [{"role": "user", "content": content}], tokenizer, add_generation_prompt=True)
        for content in (parts, "<image>\nWhat is it?")
    )
    assert by_parts == by_text


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_template_is_recognised_and_gets_our_marks(tokenizer: Any, name: str) -> None:
    other = dressed(tokenizer, PUBLISHED[name], bos=None if name in ("chatml", "qwen2") else "<s>", eos="</s>")
    assert marked_template(other) == CHAT_TEMPLATES[name].annotated


def test_own_marks_are_kept(tokenizer: Any) -> None:
    own = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    other = dressed(tokenizer, own)
    assert marked_template(other) == own
    settle_chat_template(other)
    assert own_template(other) == own


def test_our_marks_are_not_published(tokenizer: Any) -> None:
    other = dressed(tokenizer, CHAT_TEMPLATES["chatml"].annotated)
    settle_chat_template(other)
    assert own_template(other) == CHAT_TEMPLATES["chatml"].plain


def test_base_model_gets_the_named_template_without_marks(tokenizer: Any) -> None:
    other = dressed(tokenizer, None)
    settle_chat_template(other, "llama3")
    assert own_template(other) == CHAT_TEMPLATES["llama3"].plain
    with pytest.raises(
        UserError, match=r"tokenizer has no chat template\. Name the one to train with by chat_template"
    ):
        settle_chat_template(dressed(tokenizer, None))
    with pytest.raises(UserError, match="chat_template: unknown chat template: found llama, wanted one of llama3, "):
        settle_chat_template(dressed(tokenizer, None), "llama")


def test_template_that_takes_no_image_parts_gives_way_to_ours_that_renders_alike(tokenizer: Any) -> None:
    """Meta's own template would write a list of parts out as Python does."""
    other = dressed(tokenizer, published_templates.LLAMA3_INSTRUCT)
    settle_chat_template(other, "llama3")
    assert own_template(other) == CHAT_TEMPLATES["llama3"].plain
    parts = [{"type": "image"}, {"type": "text", "text": "Hi"}]
    assert "<image>\nHi<|eot_id|>" in render_text(str(own_template(other)), [{"role": "user", "content": parts}], other)


def test_unknown_template_without_marks_stays_and_is_refused_for_training(tokenizer: Any) -> None:
    own = "{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}"
    other = dressed(tokenizer, own)
    settle_chat_template(other)
    assert own_template(other) == own
    with pytest.raises(UserError, match=r"is none that we know: found 'user> What is it\?\\nassistant> A boat"):
        marked_template(other)


def test_named_template_has_to_render_as_the_tokenizers_own(tokenizer: Any) -> None:
    other = dressed(tokenizer, published_templates.LLAMA3_INSTRUCT.replace("\n\n", "\n"))
    message = r"renders otherwise than 'llama3': found .*\[-\\n\\n-\] \{\+\\n\+\}.*more places\), wanted equal texts"
    with pytest.raises(UserError, match=message):
        settle_chat_template(other, "llama3")


def test_one_of_several_templates_is_the_default(tokenizer: Any) -> None:
    several = copy.deepcopy(tokenizer)
    several.chat_template = {"default": published_templates.CHATML, "tool_use": "{{ x }}"}
    assert own_template(several) == published_templates.CHATML
