"""What the device knows of every slot's answer; it decides by itself which have ended."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from llava_train.decoding.choosing import choose_among_likeliest, choose_likeliest
from llava_train.decoding.questions import EngineSettings
from llava_train.generation import Answer


class RowState:
    """Answers under way, one a slot, in tensors that keep their places in memory."""

    def __init__(self, settings: EngineSettings, device: torch.device):
        slots, limit = settings.num_slots, settings.max_new_tokens
        self._limit, self._max_top_k = limit, settings.max_top_k
        self._stops = torch.tensor(settings.stop_ids, dtype=torch.int64, device=device)
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=device)
        self.positions = torch.zeros(slots, dtype=torch.int64, device=device)
        self.ids = torch.zeros(slots, limit, dtype=torch.int64, device=device)
        self.counts = torch.zeros(slots, dtype=torch.int64, device=device)
        self.stopped = torch.zeros(slots, dtype=torch.bool, device=device)
        self.done = torch.ones(slots, dtype=torch.bool, device=device)
        self.logprob_sums = torch.zeros(slots, device=device)
        self.seeds = torch.zeros(slots, dtype=torch.int64, device=device)
        self.top_k = torch.ones(slots, dtype=torch.int64, device=device)
        self.temperature = torch.ones(slots, device=device)

    def begin(
        self,
        slots: Int64[Tensor, " rows"],
        logits: Float[Tensor, "rows vocabulary"],
        prompt_lengths: Int64[Tensor, " rows"],
        questions: "QuestionColumns",
    ) -> None:
        """Begin answers in some slots with their first token."""
        chosen, logprobs = self._choose(logits, questions, torch.zeros_like(slots))
        stopped = self._are_stops(chosen)
        for state, fresh in (
            (self.tokens, chosen),
            (self.positions, prompt_lengths),
            (self.counts, (~stopped).long()),
            (self.stopped, stopped),
            (self.done, stopped | (self._limit == 1)),
            (self.logprob_sums, logprobs),
            (self.seeds, questions.seeds),
            (self.top_k, questions.top_k),
            (self.temperature, questions.temperature),
        ):
            state.index_copy_(0, slots, fresh)
        self.ids[:, 0].index_copy_(0, slots, chosen)

    def advance(self, num_rows: int, logits: Float[Tensor, "rows vocabulary"]) -> None:
        """Choose and record the next token of the first rows; those that have ended stay as they are."""
        rows = slice(0, num_rows)
        counts, live = self.counts[rows], ~self.done[rows]
        columns = QuestionColumns(self.seeds[rows], self.top_k[rows], self.temperature[rows])
        chosen, logprobs = self._choose(logits, columns, counts)
        stopped = live & self._are_stops(chosen)
        # A row that ended by the limit has no next place; it writes what is there again.
        place = counts.clamp(max=self._limit - 1).unsqueeze(1)
        ids = self.ids[rows]
        ids.scatter_(1, place, torch.where(live.unsqueeze(1), chosen.unsqueeze(1), ids.gather(1, place)))
        self.tokens[rows] = torch.where(live, chosen, self.tokens[rows])
        self.logprob_sums[rows] += logprobs.masked_fill(~live, 0.0)
        self.positions[rows] += live
        counts += live & ~stopped
        self.stopped[rows] |= stopped
        self.done[rows] |= stopped | (counts >= self._limit)

    def copy(self, sources: Int64[Tensor, " rows"], targets: Int64[Tensor, " rows"]) -> None:
        """Let some answers go on in other slots, and end them where they were."""
        for state in (
            self.tokens, self.positions, self.ids, self.counts, self.stopped, self.done, self.logprob_sums, self.seeds,
            self.top_k, self.temperature,
        ):  # fmt: skip
            state.index_copy_(0, targets, state[sources])
        self.done.index_fill_(0, sources, True)

    def _choose(
        self, logits: Tensor, questions: "QuestionColumns", places: Tensor
    ) -> tuple[Int64[Tensor, " rows"], Float[Tensor, " rows"]]:
        if self._max_top_k == 1:
            return choose_likeliest(logits)
        return choose_among_likeliest(logits, max_top_k=self._max_top_k, places=places, **vars(questions))

    def _are_stops(self, tokens: Tensor) -> Tensor:
        return (tokens.unsqueeze(1) == self._stops).any(1)


@dataclass(frozen=True)
class QuestionColumns:
    """How the answers of some rows are drawn."""

    seeds: Int64[Tensor, " rows"]
    top_k: Int64[Tensor, " rows"]
    temperature: Float[Tensor, " rows"]


class Snapshot:
    """What the rows had said at one moment of the device's work, on its way to the host."""

    def __init__(self, state: RowState, num_rows: int):
        parts = (state.done, state.stopped, state.counts, state.logprob_sums, state.ids)
        self._parts = [part[:num_rows] for part in parts]
        self._arrived: torch.cuda.Event | None = None
        if state.done.device.type == "cuda":
            pinned = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in self._parts]
            self._parts = [copy.copy_(part, non_blocking=True) for copy, part in zip(pinned, self._parts, strict=True)]
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def done(self) -> list[bool]:
        """Return which rows had ended; waits until it is known."""
        if self._arrived is not None:
            self._arrived.synchronize()
        ended: list[bool] = self._parts[0].tolist()
        return ended

    def answers(self, slots: list[int]) -> list[Answer]:
        """Return the answers in some slots that had ended; on a CPU only until decoding goes on."""
        if self._arrived is not None:
            self._arrived.synchronize()
        _, *parts = (part[slots].tolist() for part in self._parts)
        return [
            Answer(
                token_ids=tuple(ids[:count]),
                finish_reason="stop" if stopped else "length",
                mean_logprob=logprob_sum / (count + stopped),
            )
            for stopped, count, logprob_sum, ids in zip(*parts, strict=True)
        ]
