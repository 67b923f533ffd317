"""Conversations to token ids, with the mask of what a captioner learns to say.

A conversation is written down by the tokenizer's chat template, tokenized as one text, and supervised where the
template marks what the assistant says: answers and the token that ends each, nothing else.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Integer

from imagetext import rendering_errors
from imagetext.chat_marks import (
    MarkedText,
    Messages,
    marked_template,
    own_template,
    render_marked,
    render_text,
    require_alike,
)
from imagetext.chat_templates import LLAVA_PLAIN
from imagetext.conversations import (
    IGNORED_LABEL,
    IMAGE_TOKEN,
    PAPER_PROMPT,
    Conversation,
    Rendered,
    Turn,
    image_token_id,
    render_prompt,
    stop_token_ids,
)
from imagetext.rendering_errors import RenderingError
from imagetext.rendering_proof import require_one_bos, require_prompt, require_stops
from imagetext.supervision import supervised_tokens
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Rendering = Literal["chat", "plain"]
"""chat: by the tokenizer's chat template; plain: the image, then the answers, as LLaVA aligns."""

_PROBE = Conversation(
    id="probe",
    image="probe.png",
    turns=(
        Turn("user", f"{IMAGE_TOKEN}\n{PAPER_PROMPT}"),
        Turn("assistant", "A boat."),
        Turn("user", "Its colour?"),
        Turn("assistant", "Red."),
    ),
)


class ConversationRenderer:
    """Turn conversations into token ids with labels under one tokenizer; may be sent to other processes.

    The image goes to the front of the first turn, followed by a new line, and takes `num_image_tokens` places. LLaVA
    has it in front of its own turn, which in its files is the first. What exceeds `max_length_tokens` is cut off, as
    LLaVA does too; of an empty answer, its end is supervised.

    Raises:
        UserError: on opening, when the tokenizer has no `<image>`, no usable chat template, or one under which answers
            do not end in a token that stops the model, the text does not begin with one BOS where the tokenizer wants
            it, or a prompt is not what stands before an answer in training.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        num_image_tokens: int,
        max_length_tokens: int | None = None,
        rendering: Rendering = "chat",
    ):
        if not tokenizer.is_fast:
            wanted = "a fast tokenizer"
            raise UserError("tokenizer can't tell where its tokens lie", where=tokenizer.name_or_path, wanted=wanted)
        self._tokenizer = tokenizer
        self._num_image_tokens = num_image_tokens
        self._max_length_tokens = max_length_tokens
        self._image_id = image_token_id(tokenizer)
        self._template = marked_template(tokenizer) if rendering == "chat" else LLAVA_PLAIN.annotated
        self._own_template = own_template(tokenizer) if rendering == "chat" else self._template
        self._special = _special_token_pattern(tokenizer)
        self._num_tokens_before_answer = self._prove(rendering)

    def __call__(self, record: Conversation) -> Rendered:
        """Return a conversation as ids and labels.

        Raises:
            NoAnswerError: naming the record, when all answers are empty or the cut leaves no token of one.
            RenderingError: likewise, when a text holds a special token, `<image>` is not there once for an image and
                never without one, or a token lies half in an answer.
        """
        rendered = self._whole(record)
        if self._max_length_tokens is None:
            return rendered
        cut = Rendered(rendered.input_ids[: self._max_length_tokens], rendered.labels[: self._max_length_tokens])
        if all(label == IGNORED_LABEL for label in cut.labels):
            text, limit = record.turns[0].text, self._max_length_tokens
            raise rendering_errors.no_answer_left(record, text, rendered.input_ids, limit, self._tokenizer)
        return cut

    def check(self, record: Conversation) -> None:
        """Raise RenderingError for a record that can't be trained on, tokenizing only the few whose length is doubtful.

        A token half in an answer is found when the record is rendered, not here.
        """
        self._messages(record)
        num_question_bytes = np.array([len(record.turns[0].text.encode())])
        if self.may_cut_answers(num_question_bytes, np.array([record.image is not None]))[0]:
            self(record)

    def may_cut_answers(
        self, num_question_bytes: Integer[np.ndarray, " records"], has_image: Bool[np.ndarray, " records"]
    ) -> Bool[np.ndarray, " records"]:
        """Tell of which records the first question is so long that no answer may be left by the cut."""
        if self._max_length_tokens is None:
            return np.zeros(len(has_image), bool)
        # A token is a byte at least: only a long first question can push all answers over the limit.
        others = self._num_tokens_before_answer - np.where(has_image, 0, self._num_image_tokens)
        return others + num_question_bytes >= self._max_length_tokens

    def _whole(self, record: Conversation) -> Rendered:
        """Return a conversation without a cut, up to its last supervised token.

        What follows the end of the last answer (ChatML's new line) is left out: nothing is generated after it.
        """
        marked = self._marked(self._messages(record), record)
        encoding = self._tokenizer(marked.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
        if ids.count(self._image_id) != int(record.image is not None):
            raise self._wrong_image_count(record, marked.text)
        supervised = supervised_tokens(marked, offsets)
        if None in supervised:
            place = supervised.index(None)
            raise rendering_errors.token_half_in_answer(record, marked, offsets[place], ids, self._tokenizer)
        if True not in supervised:
            raise rendering_errors.nothing_supervised(record, marked.text, ids, self._tokenizer)
        end = len(supervised) - supervised[::-1].index(True)
        return self._expanded(ids[:end], supervised[:end])

    def _messages(self, record: Conversation) -> list[dict[str, str]]:
        if sum(turn.text.count(IMAGE_TOKEN) for turn in record.turns) != int(record.image is not None):
            raise self._wrong_image_count(record, "\n".join(turn.text for turn in record.turns))
        if not any(turn.text.strip() for turn in record.turns if turn.role == "assistant"):
            raise self._all_answers_empty(record)
        messages = []
        for index, turn in enumerate(record.turns):
            text = turn.text.replace(IMAGE_TOKEN, "").strip()
            special = self._special.search(text)
            if special is not None:
                raise rendering_errors.special_token_in_text(record, text, special[0], index)
            if index == 0 and record.image is not None:
                text = f"{IMAGE_TOKEN}\n{text}".strip()
            messages.append({"role": turn.role, "content": text})
        return messages

    def _marked(self, messages: Messages, record: Conversation) -> MarkedText:
        """Return the conversation with what the assistant says; both templates have to agree on every one."""
        marked = render_marked(self._template, messages, self._tokenizer)
        if self._own_template is not None and self._own_template != self._template:
            own = render_text(self._own_template, messages, self._tokenizer)
            require_alike(own, marked.text, self._tokenizer, f"our copy of it, in record {record.id}")
        answers = [str(message["content"]) for message in messages if message["role"] == "assistant"]
        said = [marked.text[start:end].strip() for start, end in marked.spans]
        if len(said) != len(answers) or not all(map(str.startswith, said, answers)):
            raise rendering_errors.answers_changed(record, answers, said)
        return marked

    def _expanded(self, ids: Sequence[int], supervised: Sequence[bool | None]) -> Rendered:
        """Return ids and labels, the image's token repeated once per patch."""
        rendered = Rendered([], [])
        for token, said in zip(ids, supervised, strict=True):
            count = self._num_image_tokens if token == self._image_id else 1
            rendered.input_ids.extend([token] * count)
            rendered.labels.extend([token if said else IGNORED_LABEL] * count)
        return rendered

    def _prove(self, rendering: Rendering) -> int:
        """Raise UserError unless a first conversation comes out right; return how many tokens precede its answer."""
        ids, labels = self._whole(_PROBE)
        supervised = [label != IGNORED_LABEL for label in labels]
        require_one_bos(ids, supervised, self._tokenizer)
        if rendering == "chat":
            require_stops(ids, supervised, self._tokenizer, stop_token_ids(self._tokenizer))
            prompt = render_prompt(PAPER_PROMPT, self._tokenizer, self._num_image_tokens)
            require_prompt(ids, supervised, self._tokenizer, prompt)
        return supervised.index(True)

    def _all_answers_empty(self, record: Conversation) -> RenderingError:
        text = "\n".join(turn.text for turn in record.turns)
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        return rendering_errors.all_answers_empty(record, text, ids, self._tokenizer)

    def _wrong_image_count(self, record: Conversation, text: str) -> RenderingError:
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        num_found = ids.count(self._image_id)
        return rendering_errors.wrong_image_count(record, text, ids, num_found, self._tokenizer)


def _special_token_pattern(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """Match every special token but `<image>`, which has a check of its own."""
    named = [str(token) for token in tokenizer.all_special_tokens]
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(re.escape(token) for token in sorted({*named, *added} - {IMAGE_TOKEN})) or r"(?!)")
