"""LLaVA's conversation records, from file to token ids with labels.

Training, captioning and servers must render alike: a prompt's ids are a prefix of the training sequence's ids, token by
token, because prompt and answer are tokenized apart in both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from imagetext.conversation_files import IMAGE_TOKEN, Conversation, Turn, read_conversations, write_conversations
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "IGNORED_LABEL",
    "IMAGE_TOKEN",
    "PAPER_PROMPT",
    "Conversation",
    "Rendered",
    "Turn",
    "image_token_id",
    "read_conversations",
    "render_plain",
    "render_prompt",
    "render_training",
    "stop_token_ids",
    "write_conversations",
]

PAPER_PROMPT = "Please generate a detailed caption of this image. Please be as descriptive as possible."
"""The captioning prompt, verbatim (arXiv 2406.08478, section 3.2)."""
IGNORED_LABEL = -100
"""Label of a token that the loss leaves out (PyTorch's `ignore_index`)."""
_STOP_TOKENS = ("<|eot_id|>", "<|end_of_text|>")


class Rendered(NamedTuple):
    """Hold a conversation as token ids and, as long, the labels: the same id where supervised, else `IGNORED_LABEL`."""

    input_ids: list[int]
    labels: list[int]


def render_training(record: Conversation, tokenizer: "PreTrainedTokenizerBase", num_image_tokens: int) -> Rendered:
    """Render by the tokenizer's chat template; answers and the token that ends each are supervised, nothing else.

    The image goes to the front of the first turn, followed by a new line, and takes `num_image_tokens` places.

    Raises:
        UserError: when a text holds one of the tokenizer's special tokens, or the template does not extend the
            sequence turn by turn or has no token to end an answer.
    """
    messages = _messages(record)
    _refuse_special_tokens(record, tokenizer)
    rendered = Rendered([], [])
    done = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _template(tokenizer, messages[:index], add_generation_prompt=True)
        whole = _template(tokenizer, messages[: index + 1], add_generation_prompt=False)
        answer = _answer(whole, prompt, message["content"], tokenizer)
        if not prompt.startswith(done):
            raise _unstable(tokenizer)
        _append(rendered, _token_ids(prompt[len(done) :], tokenizer, num_image_tokens), supervised=False)
        _append(rendered, _token_ids(answer, tokenizer, num_image_tokens), supervised=True)
        done = prompt + answer
    return rendered


def render_plain(record: Conversation, tokenizer: "PreTrainedTokenizerBase", num_image_tokens: int) -> Rendered:
    """Render as LLaVA's alignment phase does: the image, then the answer and a new line; the question is dropped."""
    _refuse_special_tokens(record, tokenizer)
    answers = [turn.text.strip() for turn in record.turns if turn.role == "assistant"]
    prompt = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    if record.image is not None:
        prompt += [image_token_id(tokenizer)] * num_image_tokens
    rendered = Rendered([], [])
    _append(rendered, prompt, supervised=False)
    _append(rendered, _token_ids("\n".join(answers) + "\n", tokenizer, num_image_tokens), supervised=True)
    return rendered


def render_prompt(
    prompt: str, tokenizer: "PreTrainedTokenizerBase", num_image_tokens: int, *, with_image: bool = True
) -> list[int]:
    """Return the ids that ask for an answer about an image, as `render_training` would begin them."""
    content = f"{IMAGE_TOKEN}\n{prompt.strip()}" if with_image else prompt.strip()
    text = _template(tokenizer, [{"role": "user", "content": content}], add_generation_prompt=True)
    return _token_ids(text, tokenizer, num_image_tokens)


def image_token_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id of `<image>`; raise UserError for a tokenizer without it."""
    ids = tokenizer.encode(IMAGE_TOKEN, add_special_tokens=False)
    if len(ids) != 1:
        raise UserError(
            f"tokenizer has no {IMAGE_TOKEN} token",
            where=tokenizer.name_or_path,
            fix=f"Add {IMAGE_TOKEN} as a special token and resize the embeddings",
        )
    return int(ids[0])


def stop_token_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return every token that ends an answer: the tokenizer's own and, where they exist, both of LLaMA-3."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[token] for token in _STOP_TOKENS if token in vocabulary]
    own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return list(dict.fromkeys([*own, *ids]))


def _messages(record: Conversation) -> list[dict[str, str]]:
    messages = []
    for index, turn in enumerate(record.turns):
        text = turn.text.replace(IMAGE_TOKEN, "").strip()
        if index == 0 and record.image is not None:
            text = f"{IMAGE_TOKEN}\n{text}".strip()
        messages.append({"role": turn.role, "content": text})
    return messages


def _refuse_special_tokens(record: Conversation, tokenizer: "PreTrainedTokenizerBase") -> None:
    for turn in record.turns:
        text = turn.text.replace(IMAGE_TOKEN, "")
        for token in tokenizer.all_special_tokens:
            if str(token) in text:
                fix = "Remove it from the text: it would end or open a turn"
                raise UserError("text holds a special token", where=f"record {record.id}", found=str(token), fix=fix)


def _template(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], *, add_generation_prompt: bool
) -> str:
    if tokenizer.chat_template is None:
        raise UserError("tokenizer has no chat template", where=tokenizer.name_or_path, fix="Save one with it")
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
    return str(text)


def _answer(whole: str, prompt: str, content: str, tokenizer: "PreTrainedTokenizerBase") -> str:
    start = len(prompt) + len(content)
    if not whole.startswith(prompt + content):
        raise _unstable(tokenizer)
    # White space after the end token belongs to the next prompt: at inference nothing is generated after the end.
    end = whole[start:].rstrip()
    if not end:
        raise UserError("chat template has no token that ends an answer", where=tokenizer.name_or_path)
    return content + end


def _unstable(tokenizer: "PreTrainedTokenizerBase") -> UserError:
    return UserError(
        "chat template rewrites earlier turns",
        where=tokenizer.name_or_path,
        wanted="each turn to extend the text before it, answers kept verbatim",
        fix="Use a template such as imagetext.tokenizer_training.LLAMA3_CHAT_TEMPLATE",
    )


def _token_ids(text: str, tokenizer: "PreTrainedTokenizerBase", num_image_tokens: int) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if IMAGE_TOKEN not in text:
        return ids
    image = image_token_id(tokenizer)
    return [token for one in ids for token in ([one] * num_image_tokens if one == image else [one])]


def _append(rendered: Rendered, ids: list[int], *, supervised: bool) -> None:
    rendered.input_ids.extend(ids)
    rendered.labels.extend(ids if supervised else [IGNORED_LABEL] * len(ids))
