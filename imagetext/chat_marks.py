"""Which characters of a rendered conversation the assistant says, by the marks of its chat template.

A tokenizer's own template seldom carries marks. Then one of ours takes its place while training, once both are proven
to render alike: on the conversations below when a run starts, and on every conversation when its turn comes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from imagetext.chat_templates import CHAT_TEMPLATES, ChatTemplate
from imagetext.conversation_files import IMAGE_TOKEN
from imagetext.token_display import first_difference, shown_text, shown_tokens
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]

_MARK = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def _alternating(*texts: str) -> Messages:
    return [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]


_PROOFS: Sequence[Messages] = (
    _alternating("What is it?", "A boat."),
    _alternating(f"{IMAGE_TOKEN}\nWhat is it?", "A boat, 12 m long.\n\n- red\n- \"old\" & 'worn'"),
    _alternating(f"{IMAGE_TOKEN}\nWhat?", "Ein Böötchen 🚤", "Its colour?", "Red.", "Sure?", "Yes (quite)."),
    _alternating("Say nothing.", ""),
)
"""Conversations on which two templates have to agree."""


class MarkedText(NamedTuple):
    """Hold a rendered conversation and, in order, the spans of characters that the assistant says."""

    text: str
    spans: list[tuple[int, int]]


def own_template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the tokenizer's chat template, the default one of several; None when it has none."""
    return None if not tokenizer.chat_template else tokenizer.get_chat_template()


def settle_chat_template(tokenizer: "PreTrainedTokenizerBase", name: str | None = None) -> None:
    """Give a tokenizer the chat template, without our marks, that its captioner is asked and published with.

    A tokenizer without a template gets the one called `name`. One with a template keeps it, of several the default; but
    a known one that carries marks, or that can't take an image among the parts of a message, as processors and servers
    send it, gives way to our text, which renders the same.

    Raises:
        UserError: when there is no template and no name, no template of that name, or the tokenizer's own renders
            otherwise than the named one.
    """
    own = own_template(tokenizer)
    if own is None:
        tokenizer.chat_template = _named(name, tokenizer).plain
        return
    tokenizer.chat_template = own
    if name is not None:
        _require_alike(_named(name, tokenizer), own, tokenizer)
    if _takes_image_parts(own, tokenizer) and not _MARK.search(own):
        return
    known = _known_twin(own, tokenizer)
    if known is not None:
        tokenizer.chat_template = known.plain


def marked_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a template that marks answers and renders as the tokenizer's own does: itself, or our copy of it.

    Raises:
        UserError: when there is no template, or one without marks that renders like none that we know.
    """
    own = own_template(tokenizer)
    if own is None:
        raise _no_template(tokenizer)
    if _MARK.search(own):
        return own
    known = _known_twin(own, tokenizer)
    if known is None:
        raise _unmarked(own, tokenizer)
    return known.annotated


def render_text(
    template: str, messages: Messages, tokenizer: "PreTrainedTokenizerBase", *, add_generation_prompt: bool = False
) -> str:
    """Return a conversation as text; raises UserError when the template fails on it."""
    applied: Any = tokenizer.apply_chat_template
    with _refusing_failures(tokenizer):
        text = applied(
            list(messages), chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    return str(text)


def render_marked(template: str, messages: Messages, tokenizer: "PreTrainedTokenizerBase") -> MarkedText:
    """Return a conversation as text with the spans that the template marks, as `render_text` would."""
    from transformers.utils import chat_template_utils

    # Its annotations say text alone and no special tokens.
    rendered: Any = chat_template_utils.render_jinja_template
    with _refusing_failures(tokenizer):
        texts, spans = rendered(
            conversations=[list(messages)],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    return MarkedText(texts[0], [(int(start), int(end)) for start, end in spans[0]])


def require_alike(wanted: str, found: str, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
    """Raise UserError, showing where they part, unless our copy's text equals that of the tokenizer's own template."""
    if found != wanted:
        raise UserError(
            f"chat template renders otherwise than {name}",
            where=tokenizer.name_or_path,
            found=first_difference(_pieces(found), _pieces(wanted)),
            wanted="equal texts ([-...-] is only in ours, {+...+} only in the tokenizer's own)",
            fix="Leave chat_template out; where that is not enough, mark answers in the tokenizer's own template",
        )


@contextmanager
def _refusing_failures(tokenizer: "PreTrainedTokenizerBase") -> Iterator[None]:
    from jinja2 import TemplateError

    try:
        yield
    except (TemplateError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UserError("chat template fails", where=tokenizer.name_or_path, found=found) from error


def _named(name: str | None, tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate:
    if name is None:
        raise _no_template(tokenizer)
    if name not in CHAT_TEMPLATES:
        wanted = f"one of {', '.join(CHAT_TEMPLATES)}"
        raise UserError("unknown chat template", where="chat_template", found=name, wanted=wanted)
    return CHAT_TEMPLATES[name]


def _known_twin(own: str, tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate | None:
    """Return the first template of ours that renders as `own` does; one that fails on a proof is like none."""
    try:
        texts = _proof_texts(own, tokenizer)
    except UserError:
        return None
    return next((known for known in CHAT_TEMPLATES.values() if _renders(known, texts, tokenizer)), None)


def _renders(known: ChatTemplate, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> bool:
    try:
        return _proof_texts(known.plain, tokenizer) == texts
    except UserError:  # such as one that needs a token which this tokenizer has not
        return False


def _require_alike(named: ChatTemplate, own: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    for found, wanted in zip(_proof_texts(named.plain, tokenizer), _proof_texts(own, tokenizer), strict=True):
        require_alike(wanted, found, tokenizer, repr(named.name))


def _proof_texts(template: str, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return what a template makes of every proof: the conversation, and the request for each of its answers."""
    wholes = [render_text(template, messages, tokenizer) for messages in _PROOFS]
    prompts = [
        render_text(template, messages[:end], tokenizer, add_generation_prompt=True)
        for messages in _PROOFS
        for end in range(1, len(messages), 2)
    ]
    return wholes + prompts


def _takes_image_parts(template: str, tokenizer: "PreTrainedTokenizerBase") -> bool:
    parts = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    try:
        by_parts = render_text(template, [{"role": "user", "content": parts}], tokenizer)
    except UserError:
        return False
    return by_parts == render_text(template, _alternating(f"{IMAGE_TOKEN}\nWhat is it?"), tokenizer)


def _pieces(text: str) -> list[str]:
    return [repr(piece)[1:-1] for piece in re.findall(r"\s+|[^\s\w]+|\w+", text)]


def _no_template(tokenizer: "PreTrainedTokenizerBase") -> UserError:
    names = ", ".join(CHAT_TEMPLATES)
    return UserError(
        "tokenizer has no chat template",
        where=tokenizer.name_or_path,
        fix=f"Name the one to train with by chat_template: {names}",
    )


def _unmarked(own: str, tokenizer: "PreTrainedTokenizerBase") -> UserError:
    text = render_text(own, _PROOFS[0], tokenizer)
    tokens = shown_tokens(tokenizer.encode(text, add_special_tokens=False), tokenizer)
    return UserError(
        "chat template does not mark what the assistant says, and is none that we know",
        where=tokenizer.name_or_path,
        found=f"{shown_text(text)}, tokens {tokens}",
        wanted=f"{{% generation %}} around answers, or the text of one of {', '.join(CHAT_TEMPLATES)}",
        fix="Put {% generation %} and {% endgeneration %} around answers and their end tokens in the tokenizer's own",
    )
