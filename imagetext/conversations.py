"""What all who speak with a captioner share: conversations, the prompt, its token ids, and the tokens that end answers.

Training, captioning and servers render alike: a prompt's ids are a prefix of the training sequence's ids
(`imagetext.conversation_renderer`).
"""

from typing import TYPE_CHECKING, NamedTuple

from imagetext.chat_marks import own_template, render_text
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
    "render_prompt",
    "stop_token_ids",
    "write_conversations",
]

PAPER_PROMPT = "Please generate a detailed caption of this image. Please be as descriptive as possible."
"""The captioning prompt, verbatim (arXiv 2406.08478, section 3.2)."""
IGNORED_LABEL = -100
"""Label of a token that the loss leaves out (PyTorch's `ignore_index`)."""
_STOP_TOKENS = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>")


class Rendered(NamedTuple):
    """Hold a conversation as token ids and, as long, the labels: the same id where supervised, else `IGNORED_LABEL`."""

    input_ids: list[int]
    labels: list[int]


def render_prompt(
    prompt: str, tokenizer: "PreTrainedTokenizerBase", num_image_tokens: int, *, with_image: bool = True
) -> list[int]:
    """Return the ids that ask for an answer about an image, as a training sequence begins with them.

    Raises UserError when the tokenizer has no chat template, or no `<image>` to ask about.
    """
    template = own_template(tokenizer)
    if template is None:
        raise UserError("tokenizer has no chat template", where=tokenizer.name_or_path, fix="Save one with it")
    content = f"{IMAGE_TOKEN}\n{prompt.strip()}" if with_image else prompt.strip()
    text = render_text(template, [{"role": "user", "content": content}], tokenizer, add_generation_prompt=True)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if IMAGE_TOKEN not in text:
        return ids
    image_id = image_token_id(tokenizer)
    return [token for one in ids for token in ([one] * num_image_tokens if one == image_id else [one])]


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
    """Return every token that ends an answer: the tokenizer's own and, where they exist, LLaMA-3's two and ChatML's."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[token] for token in _STOP_TOKENS if token in vocabulary]
    own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    return list(dict.fromkeys([*own, *ids]))
