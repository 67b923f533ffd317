"""One conversation rendered when a captioner is published, and rendered again before anybody captions with it.

A captioner answers well only to prompts of the tokens it was trained on. Between training and captioning stand a chat
template, a tokenizer's files and two libraries, any of which may have become another one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from imagetext.chat_marks import own_template, render_text
from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import (
    IGNORED_LABEL,
    IMAGE_TOKEN,
    PAPER_PROMPT,
    Conversation,
    Turn,
    image_token_id,
    render_prompt,
)
from imagetext.token_display import first_difference, token_names, with_repeats_counted
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object

FILE_NAME = "rendering.json"
_KEYS = ("messages", "input_ids", "tokens", "supervised", "num_image_tokens", "chat_template_sha256")

_EXAMPLE = Conversation(
    id="example",
    image="example.png",
    turns=(
        Turn("user", f"{IMAGE_TOKEN}\n{PAPER_PROMPT}"),
        Turn("assistant", "A small red boat, 12.5 m long, lies beside the pier.\n\nIts name is “Möwe” ⛵."),
        Turn("user", "What's written   on the sign?"),
        Turn("assistant", "It isn't legible."),
    ),
)
"""Words, numbers, marks, runs of spaces, new lines and letters of several bytes: where tokenizers differ."""


def save_example(tokenizer: PreTrainedTokenizerBase, num_image_tokens: int, folder: Path) -> None:
    """Write how the example is rendered: messages, token ids, which of them are supervised, digest of the template."""
    input_ids, labels = ConversationRenderer(tokenizer, num_image_tokens=num_image_tokens)(_EXAMPLE)
    messages = [{"role": turn.role, "content": turn.text} for turn in _EXAMPLE.turns]
    example = {
        "messages": messages,
        "input_ids": input_ids,
        "tokens": token_names(input_ids, tokenizer),
        "supervised": [int(label != IGNORED_LABEL) for label in labels],
        "num_image_tokens": num_image_tokens,
        "chat_template_sha256": _template_digest(tokenizer),
    }
    write_json(folder / FILE_NAME, example)


def check_example(folder: Path, tokenizer: PreTrainedTokenizerBase, num_image_tokens: int) -> None:
    """Raise UserError, showing where they part, when the saved example and its prompt are rendered otherwise today.

    Captioners published by others have no example; nothing is checked for them.
    """
    if not (folder / FILE_NAME).exists():
        return
    saved = read_object(folder / FILE_NAME, *_KEYS)
    if saved["num_image_tokens"] != num_image_tokens:
        raise UserError(
            "an image takes another number of tokens than in training",
            where=folder,
            found=num_image_tokens,
            wanted=saved["num_image_tokens"],
            fix="Its config.json and its rendering.json belong to different captioners: publish it again",
        )
    num_prompt_tokens = list(saved["supervised"]).index(1)
    prompt = render_prompt(_question(saved), tokenizer, num_image_tokens)
    _require_same(folder, tokenizer, saved, prompt, num_prompt_tokens)
    _require_same(folder, tokenizer, saved, _render_messages(saved, tokenizer), len(saved["input_ids"]))


def _question(saved: Mapping[str, Any]) -> str:
    return str(saved["messages"][0]["content"]).replace(IMAGE_TOKEN, "")


def _render_messages(saved: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the example as the tokenizer's own template has it, as far as the last answer's end."""
    text = render_text(str(own_template(tokenizer)), saved["messages"], tokenizer)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    image_id = image_token_id(tokenizer)
    expanded = [token for one in ids for token in [one] * (saved["num_image_tokens"] if one == image_id else 1)]
    return expanded[: len(saved["input_ids"])]


def _require_same(
    folder: Path, tokenizer: PreTrainedTokenizerBase, saved: Mapping[str, Any], found: Sequence[int], num_tokens: int
) -> None:
    wanted, names = saved["input_ids"][:num_tokens], saved["tokens"][:num_tokens]
    if list(found) == wanted:
        return
    same_template = saved["chat_template_sha256"] == _template_digest(tokenizer)
    fix = "Its tokenizer files or the libraries are not those" if same_template else "Its chat template is not the one"
    raise UserError(
        "prompts are rendered otherwise than in training",
        where=folder,
        found=_difference(wanted, names, found, tokenizer),
        wanted="the tokens of rendering.json ([-...-] is trained, {+...+} is rendered now)",
        fix=f"{fix} that it was trained with: restore them",
    )


def _difference(
    wanted: Sequence[int], names: Sequence[str], found: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> str:
    difference = first_difference(with_repeats_counted(names), with_repeats_counted(token_names(found, tokenizer)))
    if difference:
        return difference
    place = next(place for place, (one, other) in enumerate(zip(wanted, found, strict=True)) if one != other)
    return f"at token {place}: {names[place]} is number {found[place]}, was number {wanted[place]}"


def _template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    return hashlib.sha256(str(own_template(tokenizer)).encode()).hexdigest()
