"""Why a conversation can't be trained on, each refusal with the text and the tokens that show it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imagetext.chat_marks import MarkedText
from imagetext.conversation_files import IMAGE_TOKEN, Conversation
from imagetext.token_display import shown_text, shown_tokens
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTEXT = 20
"""Characters shown on each side of a token."""


class RenderingError(UserError):
    """Refuse one conversation; `reason` is the word under which such conversations are counted."""

    def __init__(self, what: str, *, reason: str = "unrenderable", **fields: Any):
        super().__init__(what, **fields)
        self.reason = reason


class NoAnswerError(RenderingError):
    """Refuse a conversation that leaves nothing to learn: it is well formed, and published data holds some."""


def special_token_in_text(record: Conversation, text: str, special: str, place: int) -> RenderingError:
    """Refuse a text that would end or open a turn."""
    return _refusal(
        record,
        "text holds a special token",
        reason="special_token",
        found=f"{special} in turn {place + 1}, {shown_text(text)}",
        fix="Remove it from the text: it would end or open a turn",
    )


def wrong_image_count(
    record: Conversation, text: str, ids: Sequence[int], num_found: int, tokenizer: "PreTrainedTokenizerBase"
) -> RenderingError:
    """Refuse a conversation whose `<image>` and images are not as many."""
    return _refusal(
        record,
        f"wrong number of {IMAGE_TOKEN}",
        reason="image_count",
        found=f"{num_found} in {shown_text(text)}, tokens {shown_tokens(ids, tokenizer)}",
        wanted="1, for its image" if record.image is not None else "0, since it has no image",
    )


def answers_changed(record: Conversation, answers: Sequence[str], said: Sequence[str]) -> RenderingError:
    """Refuse a conversation of which the template marks something else than each of its answers."""
    pairs = zip(answers, said, strict=False)
    answer, marked = next((pair for pair in pairs if not pair[1].startswith(pair[0])), (answers[-1], "nothing more"))
    return _refusal(
        record,
        "chat template does not keep answers as they are",
        reason="answer_changed",
        found=f"{len(said)} marked, such as {shown_text(marked)}",
        wanted=f"{len(answers)}, such as {shown_text(answer)}",
    )


def token_half_in_answer(
    record: Conversation, marked: MarkedText, offset: tuple[int, int], ids: Sequence[int], tokenizer: Any
) -> RenderingError:
    """Refuse a conversation in which one token belongs to the prompt and to an answer: no prompt ends inside it."""
    start, end = offset
    around = marked.text[max(0, start - _CONTEXT) : end + _CONTEXT]
    return _refusal(
        record,
        "a token lies half in an answer",
        reason="token_half_in_answer",
        found=f"{marked.text[start:end]!r} in {around!r}, tokens {shown_tokens(ids, tokenizer)}",
        wanted="answers that begin and end where tokens do",
        fix="Take a template that sets answers off by a special token or a space",
    )


def nothing_supervised(
    record: Conversation, text: str, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> RenderingError:
    """Refuse a conversation that has answers but, by its template, no token of them."""
    return _refusal(
        record,
        "chat template leaves no token of an answer to supervise",
        reason="nothing_supervised",
        found=f"{shown_text(text)}, tokens {shown_tokens(ids, tokenizer)}",
        wanted="{% generation %} around the text of answers",
    )


def no_answer_left(
    record: Conversation, text: str, ids: Sequence[int], max_length_tokens: int, tokenizer: Any
) -> NoAnswerError:
    """Refuse a conversation of which the cut leaves no supervised token."""
    return NoAnswerError(
        "no token of an answer is left to supervise",
        reason="no_answer_left",
        where=_place(record),
        found=f"{shown_text(text)}, {len(ids)} tokens {shown_tokens(ids, tokenizer)}",
        wanted=f"an answer that begins within the first {max_length_tokens} of its tokens",
        fix="Raise max_length_tokens, shorten the question, or take the record out",
    )


def all_answers_empty(record: Conversation, text: str, ids: Sequence[int], tokenizer: Any) -> NoAnswerError:
    """Refuse a conversation of which only the ends of its answers could be learned: it would teach to say nothing."""
    return NoAnswerError(
        "all answers are empty",
        reason="empty_answers",
        where=_place(record),
        found=f"{shown_text(text)}, tokens {shown_tokens(ids, tokenizer)}",
        wanted="an answer with something in it",
        fix="Take the record out",
    )


def _refusal(record: Conversation, what: str, *, reason: str, **fields: Any) -> RenderingError:
    return RenderingError(what, reason=reason, where=_place(record), **fields)


def _place(record: Conversation) -> str:
    return f"record {record.id}"
