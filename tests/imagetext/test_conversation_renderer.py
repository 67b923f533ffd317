"""Golden masks, of several families, and an independent rendering."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagetext.chat_templates import CHAT_TEMPLATES
from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import (
    IGNORED_LABEL,
    IMAGE_TOKEN,
    PAPER_PROMPT,
    Conversation,
    Rendered,
    image_token_id,
    render_prompt,
)
from imagetext.rendering_errors import RenderingError
from tests.imagetext import published_templates
from tests.imagetext.talk import conversation, dressed, llama3_instruct_tokenizer, marked

USER = "<|start_header_id|>user<|end_header_id|>\n\n"
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
BEGIN, END = "<|begin_of_text|>", "<|eot_id|>"
TWO_ROUNDS = conversation("What is it?\n<image>", " A boat. ", "Its colour?", "Red.", image=True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return llama3_instruct_tokenizer(tmp_path_factory.mktemp("talk") / "llama")


GOLDEN = {
    "one turn": (
        conversation("<image>\nWhat is it?", "A boat.", image=True),
        f"{BEGIN}{USER}<image><image>\nWhat is it?{END}{ASSISTANT}[[A boat.{END}]]",
        f"{BEGIN}<image><image>[[A boat.\n]]",
    ),
    "many turns": (
        conversation("<image>\nWhat?", "A boat.", "Its colour?", "Red.\n\nOr\trust.", "Sure?", "(Yes) 🚤", image=True),
        f"{BEGIN}{USER}<image><image>\nWhat?{END}{ASSISTANT}[[A boat.{END}]]{USER}Its colour?{END}{ASSISTANT}"
        f"[[Red.\n\nOr\trust.{END}]]{USER}Sure?{END}{ASSISTANT}[[(Yes) 🚤{END}]]",
        f"{BEGIN}<image><image>[[A boat.\nRed.\n\nOr\trust.\n(Yes) 🚤\n]]",
    ),
    "text only": (
        conversation("Say it.", "A boat.", "And?", "No more."),
        f"{BEGIN}{USER}Say it.{END}{ASSISTANT}[[A boat.{END}]]{USER}And?{END}{ASSISTANT}[[No more.{END}]]",
        f"{BEGIN}[[A boat.\nNo more.\n]]",
    ),
    "image in second place": (
        conversation("What is <image> it?", "A boat.", image=True),
        f"{BEGIN}{USER}<image><image>\nWhat is  it?{END}{ASSISTANT}[[A boat.{END}]]",
        f"{BEGIN}<image><image>[[A boat.\n]]",
    ),
    "image in the second turn": (
        conversation("Ready?", "Yes.", "<image>\nWhat is it?", "A boat.", image=True),
        f"{BEGIN}{USER}<image><image>\nReady?{END}{ASSISTANT}[[Yes.{END}]]{USER}What is it?{END}{ASSISTANT}"
        f"[[A boat.{END}]]",
        f"{BEGIN}<image><image>[[Yes.\nA boat.\n]]",
    ),
    "empty question": (
        conversation("<image>", "A boat.", image=True),
        f"{BEGIN}{USER}<image><image>{END}{ASSISTANT}[[A boat.{END}]]",
        f"{BEGIN}<image><image>[[A boat.\n]]",
    ),
    "empty answer": (
        conversation("<image>\nSay nothing.", " ", "And now?", "Red.", image=True),
        f"{BEGIN}{USER}<image><image>\nSay nothing.{END}{ASSISTANT}[[{END}]]{USER}And now?{END}{ASSISTANT}"
        f"[[Red.{END}]]",
        f"{BEGIN}<image><image>[[\nRed.\n]]",
    ),
    "empty answer at the end": (
        conversation("Say it.", "Red.", "And now?", ""),
        f"{BEGIN}{USER}Say it.{END}{ASSISTANT}[[Red.{END}]]{USER}And now?{END}{ASSISTANT}[[{END}]]",
        f"{BEGIN}[[Red.\n\n]]",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_masks(tokenizer: Any, name: str) -> None:
    record, chat, plain = GOLDEN[name]
    assert marked(ConversationRenderer(tokenizer, num_image_tokens=2)(record), tokenizer) == chat
    assert marked(ConversationRenderer(tokenizer, num_image_tokens=2, rendering="plain")(record), tokenizer) == plain


@pytest.mark.parametrize("rendering", ["chat", "plain"])
def test_golden_mask_of_the_over_long(tokenizer: Any, rendering: str) -> None:
    """Cut at every length: what is left is the beginning of the whole, as LLaVA leaves it; or nothing to learn from."""
    whole = ConversationRenderer(tokenizer, num_image_tokens=2, rendering=rendering)(TWO_ROUNDS)
    first_answer = [label != IGNORED_LABEL for label in whole.labels].index(True)
    for length in range(1, len(whole.input_ids) + 3):
        cutting = ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=length, rendering=rendering)
        if length <= first_answer:
            for refuse in (cutting, cutting.check):
                with pytest.raises(RenderingError, match="no token of an answer is left"):
                    refuse(TWO_ROUNDS)
        else:
            assert cutting(TWO_ROUNDS) == Rendered(whole.input_ids[:length], whole.labels[:length])
            cutting.check(TWO_ROUNDS)


def test_over_long_texts(tokenizer: Any) -> None:
    cutting = ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=30)
    cut = f"{BEGIN}{USER}What?{END}{ASSISTANT}[["
    assert marked(cutting(conversation("What?", "A boat. " * 20)), tokenizer).startswith(cut)
    assert len(cutting(conversation("What?", "A boat. " * 20)).input_ids) == 30


def as_rendered_turn_by_turn(record: Conversation, tokenizer: Any, num_image_tokens: int) -> Rendered:
    """Render independently: text grows turn by turn, and what is new is tokenized apart, answers supervised."""
    messages = []
    for place, turn in enumerate(record.turns):
        text = turn.text.replace(IMAGE_TOKEN, "").strip()
        if place == 0 and record.image is not None:
            text = f"{IMAGE_TOKEN}\n{text}".strip()
        messages.append({"role": turn.role, "content": text})
    rendered, done = Rendered([], []), ""
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    for place in range(1, len(messages), 2):
        prompt = tokenizer.apply_chat_template(messages[:place], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(messages[: place + 1], tokenize=False)
        for text, is_answer in ((prompt[len(done) :], False), (whole[len(prompt) :], True)):
            for token in tokenizer.encode(text, add_special_tokens=False):
                count = num_image_tokens if token == image else 1
                rendered.input_ids.extend([token] * count)
                rendered.labels.extend([token if is_answer else IGNORED_LABEL] * count)
        done = whole
    return rendered


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>|"), max_size=30)


@given(st.lists(TEXT, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_text_is_rendered_as_turn_by_turn(tokenizer: Any, texts: list[str], image: bool) -> None:
    record = conversation(*[f"{texts[0]}<image>" if image else texts[0], *texts[1:]], image=image)
    assume(any(text.strip() for text in texts[1::2]))
    ours = ConversationRenderer(tokenizer, num_image_tokens=3)(record)
    assert ours == as_rendered_turn_by_turn(record, tokenizer, 3)


def test_mask_is_that_of_transformers(tokenizer: Any) -> None:
    """Another independent path: transformers' own mask of our annotated copy."""
    rendered = ConversationRenderer(tokenizer, num_image_tokens=1)(TWO_ROUNDS)
    messages = [
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A boat."},
        {"role": "user", "content": "Its colour?"},
        {"role": "assistant", "content": "Red."},
    ]
    theirs = tokenizer.apply_chat_template(
        messages,
        chat_template=CHAT_TEMPLATES["llama3"].annotated,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert rendered.input_ids == theirs["input_ids"]
    assert [label != IGNORED_LABEL for label in rendered.labels] == [bool(mark) for mark in theirs["assistant_masks"]]


@pytest.mark.parametrize("num_image_tokens", [1, 16])
def test_prompt_is_a_prefix_of_training(tokenizer: Any, num_image_tokens: int) -> None:
    record = conversation(f"{PAPER_PROMPT}\n<image>", "\n\n A boat.", image=True)
    prompt = render_prompt(PAPER_PROMPT, tokenizer, num_image_tokens)
    rendered = ConversationRenderer(tokenizer, num_image_tokens=num_image_tokens)(record)
    assert rendered.input_ids[: len(prompt)] == prompt
    assert set(rendered.labels[: len(prompt)]) == {IGNORED_LABEL}
    assert IGNORED_LABEL not in rendered.labels[len(prompt) :]


FAMILIES = {
    "chatml": (published_templates.CHATML, None, "<|im_end|>"),
    "mistral": (published_templates.MISTRAL, "<s>", "</s>"),
    "vicuna": (CHAT_TEMPLATES["vicuna"].plain, "<s>", "</s>"),
}
FAMILY_MASKS = {
    "chatml": (
        "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n[[A boat.<|im_end|>]]\n"
        "<|im_start|>user\nIts colour?<|im_end|>\n<|im_start|>assistant\n[[Red.<|im_end|>]]"
    ),
    "mistral": "<s>[INST] <image>\nWhat is it? [/INST][[A boat.</s>]][INST] Its colour? [/INST][[Red.</s>]]",
    "vicuna": (
        "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: <image>\nWhat is it? ASSISTANT:[[ A boat.</s>]]"
        "USER: Its colour? ASSISTANT:[[ Red.</s>]]"
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_other_families(tokenizer: Any, family: str) -> None:
    template, bos, eos = FAMILIES[family]
    other = dressed(tokenizer, template, bos=bos, eos=eos)
    assert marked(ConversationRenderer(other, num_image_tokens=1)(TWO_ROUNDS), other) == FAMILY_MASKS[family]


def test_renderer_may_be_sent_to_another_process(tokenizer: Any) -> None:
    renderer = ConversationRenderer(tokenizer, num_image_tokens=2, max_length_tokens=30)
    assert pickle.loads(pickle.dumps(renderer))(TWO_ROUNDS) == renderer(TWO_ROUNDS)
    error = pickle.loads(pickle.dumps(RenderingError("no", reason="special_token", where="record 7")))
    assert (str(error), error.reason) == ("record 7: no", "special_token")


def test_image_never_is_supervised(tokenizer: Any) -> None:
    rendered = ConversationRenderer(tokenizer, num_image_tokens=9)(TWO_ROUNDS)
    image = image_token_id(tokenizer)
    assert rendered.input_ids.count(image) == 9 and image not in rendered.labels


def test_trimmed_offsets_change_no_mask(tokenizer: Any, tmp_path: Path) -> None:
    """LLaMA-3's published tokenizer trims the offsets of spaces away."""
    import copy

    from tokenizers.processors import ByteLevel, Sequence

    trimming = copy.deepcopy(tokenizer)
    backend = trimming.backend_tokenizer
    backend.post_processor = Sequence([ByteLevel(trim_offsets=True), backend.post_processor])
    record = conversation("What  is   it?", "A  boat.\n\n   Red  🚤 .", "So?", "  Yes.")
    encoded = trimming("a  b", add_special_tokens=False, return_offsets_mapping=True)
    assert any(start == end for start, end in encoded["offset_mapping"])
    assert ConversationRenderer(trimming, num_image_tokens=1)(record) == ConversationRenderer(
        tokenizer, num_image_tokens=1
    )(record)
