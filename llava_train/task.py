"""The captioner's training method: cross-entropy on the answers' tokens."""

import torch
from torch import nn

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import ConversationBatch
from runtime.task import LossSum


class AnswerTask:
    """Next-token loss over supervised tokens; independent samples, so accumulation and ranks are exact."""

    def count(self, batch: ConversationBatch) -> int:
        """Return the number of supervised tokens."""
        return int((batch.labels[:, 1:] != IGNORED_LABEL).sum())

    def loss(self, model: nn.Module, batch: ConversationBatch, step: int, generator: torch.Generator) -> LossSum:
        """Return the cross-entropy summed over supervised tokens; nothing in it is random."""
        sums = model(
            input_ids=batch.input_ids,
            labels=batch.labels,
            images=batch.images,
            position_ids=batch.position_ids,
            sequence_starts=batch.sequence_starts,
            longest_sequence_tokens=batch.longest_sequence_tokens,
        )
        return LossSum(total=sums.loss, metrics={"token_accuracy": sums.num_correct})
