"""The engine for language models that have no joined form: batches through the published module itself."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from llava_train.decoding.questions import Ask, EngineSettings, Said
from llava_train.generation import Answer
from runtime.errors import UserError

Generate = Callable[[torch.Tensor, torch.Tensor], list[Answer]]
"""Continues prompts of one length (rows, tokens) about pictures (rows, channel, height, width) greedily."""


class ModuleEngine:
    """Answer in batches that run until their last row ends (`questions.Engine`); no slot is taken over.

    Rows that have ended leave their batch, so that its shapes follow from what is said.
    """

    def __init__(self, generate: Generate, settings: EngineSettings):
        if settings.max_top_k > 1:
            found, wanted = settings.max_top_k, "1: this kind of language model is only decoded greedily"
            raise UserError("no sampling", where="top_k", found=found, wanted=wanted)
        self._generate, self._settings = generate, settings

    def take_seconds(self) -> dict[str, float]:
        """Return nothing: prefill and decoding are one call here."""
        return {}

    def answer(self, asks: Sequence[Ask]) -> list[Said]:
        """Answer one batch, in its order; prompts of equal length share their products."""
        by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for row, ask in enumerate(asks):
            for index, question in enumerate(ask.questions):
                by_length[len(question.token_ids)].append((row, index))
        answers: dict[tuple[int, int], Answer] = {}
        for places in by_length.values():
            ids = torch.tensor([asks[row].questions[index].token_ids for row, index in places])
            pixels = torch.from_numpy(np.stack([asks[row].pixels for row, _ in places]))
            answers.update(zip(places, self._generate(ids, pixels), strict=True))
        return [
            Said(ticket=ask.ticket, answers=tuple(answers[row, index] for index in range(len(ask.questions))))
            for row, ask in enumerate(asks)
        ]

    def run(self, asks: Iterator[Ask]) -> Iterator[Said]:
        """Answer a stream batch by batch, in its order."""
        while batch := list(islice(asks, self._settings.num_slots)):
            yield from self.answer(batch)
