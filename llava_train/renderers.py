"""How the conversations of a phase become tokens, checked before the first of them is trained on."""

from collections import Counter

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from imagetext.conversation_renderer import ConversationRenderer
from imagetext.rendering_errors import NoAnswerError
from llava_train.budget import allowed_bad
from llava_train.config import FineTuneConfig, PhaseName
from llava_train.corpus import PhaseConversations
from runtime.errors import UserError

CHECKED_CONVERSATIONS = 50_000
"""Conversations of a phase that are checked before training besides those in doubt, seconds of work; one that is not is
a bad sample later.
"""


def open_renderer(
    config: FineTuneConfig, name: PhaseName, tokenizer: PreTrainedTokenizerBase, num_image_tokens: int
) -> ConversationRenderer:
    """Return the renderer of one phase; raises UserError for a tokenizer or template that can't be trained with."""
    return ConversationRenderer(
        tokenizer,
        num_image_tokens=num_image_tokens,
        max_length_tokens=config.longest_sequence_tokens,
        rendering=config.phase(name).rendering,
    )


def check_conversations(
    conversations: PhaseConversations, renderer: ConversationRenderer, *, max_bad_share: float
) -> str | None:
    """Check a phase's conversations before any is trained on; return what to say of those that have to be skipped.

    Looks at all that may leave nothing to learn (answers that are empty, or that the cut takes), which the files' index
    tells, and at many others. Published data holds some of the first kind: they are skipped while they are few.

    Raises:
        UserError: for the first conversation that can't be rendered, or when too many leave nothing to learn.
    """
    lacking: dict[int, NoAnswerError] = {}
    for place in np.union1d(conversations.spread(CHECKED_CONVERSATIONS), _doubtful(conversations, renderer)).tolist():
        try:
            renderer.check(conversations[place])
        except NoAnswerError as error:
            lacking[place] = error
    if not lacking:
        return None
    counted = Counter(error.reason for error in lacking.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(counted.items()))
    first = lacking[min(lacking)]
    found = f"{len(lacking)} of {len(conversations)} conversations"
    if len(lacking) > allowed_bad(max_bad_share, len(conversations)) or len(lacking) == len(conversations):
        raise UserError(f"{first}; {found} leave nothing to learn ({reasons})")
    return f"{found} leave nothing to learn and are skipped ({reasons}), the first: {first}"


def _doubtful(conversations: PhaseConversations, renderer: ConversationRenderer) -> Int64[np.ndarray, " places"]:
    """Return the places of the conversations that may leave nothing to learn."""
    are_cut = renderer.may_cut_answers(conversations.num_question_bytes, conversations.has_image)
    return np.flatnonzero(are_cut | (conversations.num_answer_words == 0))
