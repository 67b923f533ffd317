"""How the conversations of a phase become tokens, checked before the first of them is trained on."""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import Conversation
from llava_train.config import FineTuneConfig, PhaseName


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


def check_conversations(records: Iterable[Conversation], renderer: ConversationRenderer) -> None:
    """Raise UserError for the first conversation that can't be trained on."""
    for record in records:
        renderer.check(record)
