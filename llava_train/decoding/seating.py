"""The host's side of slots: who sits where, who is sure to have ended, and what each ask still waits for."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llava_train.decoding.prefilling import Seat
from llava_train.decoding.questions import Ask, Said
from llava_train.generation import Answer


@dataclass(eq=False)
class Row:
    """One answer under way."""

    ticket: int
    index: int
    """Which of its ask's questions it answers."""
    prompt_length: int
    begun_at: int
    """Clock at which its first token was chosen."""


class Slots:
    """Rows in slots. The clock counts decoding steps; a row has said one token, and one more for each step since."""

    def __init__(self, num_slots: int, max_new_tokens: int):
        self._limit = max_new_tokens
        self._free = list(range(num_slots))
        self._answers: dict[int, list[Answer | None]] = {}
        self.rows: dict[int, Row] = {}
        self.clock = 0
        self._held_rows = self._held_prompt = 0

    @property
    def num_free(self) -> int:
        """Return how many questions there is room for."""
        return len(self._free)

    @property
    def num_rows(self) -> int:
        """Return how many of the first slots hold every row, or as many as are held."""
        return max(self._end, self._held_rows)

    @property
    def num_holes(self) -> int:
        """Return how many slots before the last used one are empty."""
        return self.num_rows - len(self.rows)

    def seat(self, ask: Ask) -> Seat:
        """Give an ask's questions the first free slots; there must be as many."""
        slots = tuple(heapq.heappop(self._free) for _ in ask.questions)
        for index, (slot, question) in enumerate(zip(slots, ask.questions, strict=True)):
            self.rows[slot] = Row(ask.ticket, index, len(question.token_ids), self.clock)
        self._answers[ask.ticket] = [None] * len(slots)
        return Seat(ask, slots)

    def hold(self, num_rows: int, prompt_length: int) -> None:
        """Count with at least so many rows from now on, one of a prompt so long: shapes owe nothing to who ended."""
        self._held_rows, self._held_prompt = num_rows, prompt_length

    def steps_until_end(self) -> int:
        """Return after how many steps the first row reaches the limit, if no stop token ends it before."""
        return min(self._limit - self._said(row) for row in self.rows.values())

    def extent(self, steps: int) -> int:
        """Return how many places of a slot so many steps will look at, at most."""
        ends = [row.prompt_length + self._said(row) for row in self.rows.values()]
        held = self._held_prompt + 1 + self.clock if self._held_prompt else 0
        return max(*ends, held) + steps - 1

    def pass_time(self, steps: int) -> None:
        """Count steps that every row took."""
        self.clock += steps

    def release_ended(self) -> dict[int, Row]:
        """Free the slots of the rows that have reached the limit, and return them: nothing need be known of them."""
        ended = {slot: row for slot, row in self.rows.items() if self._said(row) >= self._limit}
        self.release(ended)
        return ended

    def release(self, slots: Iterator[int] | Sequence[int] | dict[int, Row]) -> None:
        """Free some slots."""
        for slot in slots:
            del self.rows[slot]
            heapq.heappush(self._free, slot)

    def move_together(self) -> tuple[list[int], list[int]]:
        """Let the last rows sit in the first holes; return where they sat and where they sit now."""
        sources, targets = [], []
        for _ in range(self._end - len(self.rows)):
            source, target = self._end - 1, self._free[0]
            if target > source:
                break
            heapq.heapreplace(self._free, source)
            self.rows[target] = self.rows.pop(source)
            sources.append(source)
            targets.append(target)
        return sources, targets

    def answered(self, row: Row, answer: Answer) -> Said | None:
        """Note a row's answer; return its ask's answers once they are all there."""
        answers = self._answers[row.ticket]
        answers[row.index] = answer
        if any(answer is None for answer in answers):
            return None
        del self._answers[row.ticket]
        return Said(ticket=row.ticket, answers=tuple(answer for answer in answers if answer is not None))

    @property
    def _end(self) -> int:
        return max(self.rows, default=-1) + 1

    def _said(self, row: Row) -> int:
        return 1 + self.clock - row.begun_at
