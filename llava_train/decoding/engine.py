"""The engine: fixed batches whose every bit follows from places, or a stream whose pictures take over free slots."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from transformers import LlavaForConditionalGeneration

from llava_train.decoding.cropping import steady_sizes
from llava_train.decoding.intake import Intake
from llava_train.decoding.language import LanguagePasses
from llava_train.decoding.prefilling import PROMPT_MULTIPLE, Prefill, Seat, See
from llava_train.decoding.questions import Ask, EngineSettings, Said
from llava_train.decoding.rows import RowState, Snapshot
from llava_train.decoding.seating import Row, Slots
from llava_train.decoding.stepping import EagerSteps, GraphSteps
from llava_train.decoding.times import PassTimes
from llava_train.decoding.weights import LanguageWeights
from llava_train.parts import image_tokens

MOVE_SHARE = 0.25
"""Rows move together once holes are this share of the slots in use: moving copies keys and values."""
_CHUNKS_AHEAD = 2
"""Pictures read ahead of need, in prefills."""


@dataclass(frozen=True)
class _Look:
    """A snapshot, who sat where when it was taken, and who was sure to have ended by then."""

    snapshot: Snapshot
    rows: dict[int, Row]
    ended: dict[int, Row]


class SlotEngine:
    """Answer questions in slots of one static cache (`questions.Engine`)."""

    def __init__(
        self,
        llava: LlavaForConditionalGeneration,
        see: See,
        weights: LanguageWeights,
        settings: EngineSettings,
    ):
        self.weights = weights
        device = weights.embeddings.device
        self._settings = settings
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._language = LanguagePasses(weights, llava)
        self._cache = self._language.new_cache(settings.num_slots)
        self._state = RowState(settings, device)
        eager = EagerSteps(self._language, self._cache, self._state)
        replays = settings.cuda_graphs and device.type == "cuda"
        self._steps = GraphSteps(eager, self._cache, self._state) if replays else eager
        self._prefill = Prefill(see, image_tokens(llava), self._language, self._cache, self._state)
        # A GPU works ahead of the host: it is looked at one round late, so that there is always work in its queue.
        self._rounds_late = 1 if device.type == "cuda" else 0
        self._times = PassTimes(device)

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds of passes since the last call, by kind: "prefill" and "decode"."""
        return self._times.take()

    @torch.inference_mode()
    def answer(self, asks: Sequence[Ask]) -> list[Said]:
        """Answer one batch, in its order. Rows that ended leave it only where no bit of the others depends on that.

        Raises ValueError for more questions than slots.
        """
        slots, num_slots = self._new_slots(), self._settings.num_slots
        num_questions = sum(len(ask.questions) for ask in asks)
        if num_questions > num_slots:
            raise ValueError(f"{num_questions} questions for {num_slots} slots: ask fewer, or set num_slots higher")
        if not asks:
            return []
        self._fill([slots.seat(ask) for ask in asks])
        longest = max(row.prompt_length for row in slots.rows.values())
        slots.hold(num_questions, longest)
        sizes = self._steady_sizes(num_questions)
        said: dict[int, Said] = {}
        looks: deque[_Look] = deque()
        while slots.rows or looks:
            if slots.rows:
                looks.append(self._round(slots))
            while len(looks) > (self._rounds_late if slots.rows else 0):
                said.update((one.ticket, one) for one in self._read(looks.popleft(), slots))
            size = min(size for size in sizes if size >= len(slots.rows))
            if slots.rows and size < slots.num_rows:
                self._move_together(slots)
                slots.hold(size, longest)
        return [said[ask.ticket] for ask in asks]

    def run(self, asks: Iterator[Ask]) -> Iterator[Said]:
        """Answer a stream, in any order; a picture is taken as soon as slots are free for it."""
        slots = self._new_slots()
        looks: deque[_Look] = deque()
        intake = Intake(asks, max(_CHUNKS_AHEAD * self._settings.pictures_per_prefill, self._settings.num_slots))
        try:
            while not (intake.ended and len(intake) == 0 and not slots.rows and not looks):
                self._take_over(intake, slots, nothing_else_to_do=not slots.rows and not looks)
                if slots.rows:
                    looks.append(self._round(slots))
                while len(looks) > (self._rounds_late if slots.rows else 0):
                    yield from self._read(looks.popleft(), slots)
        finally:
            intake.close()

    def _new_slots(self) -> Slots:
        with torch.inference_mode():
            self._state.done.fill_(True)
        return Slots(self._settings.num_slots, self._settings.max_new_tokens)

    @torch.inference_mode()
    def _take_over(self, intake: Intake[Ask], slots: Slots, *, nothing_else_to_do: bool) -> None:
        """Seat waiting pictures: a whole prefill of them, or fewer where none are coming or nothing else is to do."""
        if not self._settings.refill and slots.rows:
            self._close_holes(slots)
            return
        wanted = self._settings.pictures_per_prefill if self._settings.refill else self._settings.num_slots
        intake.look(wanted, patiently=nothing_else_to_do)
        if len(intake) == 0:
            self._close_holes(slots)
            return
        num_slots, taken = self._settings.num_slots, [len(ask.questions) for ask in intake.waiting[:wanted]]
        if taken[0] > num_slots:
            raise ValueError(f"{taken[0]} questions about one picture for {num_slots} slots: set num_slots higher")
        count = sum(total <= slots.num_free for total in accumulate(taken))
        enough = min(wanted, num_slots // taken[0])
        if count >= enough or (count and (nothing_else_to_do or (intake.ended and count == len(intake)))):
            self._fill([slots.seat(intake.take()) for _ in range(count)])

    @torch.inference_mode()
    def _round(self, slots: Slots) -> _Look:
        """Decode until the next look, or until a row is sure to end."""
        steps = min(self._settings.steps_per_check, slots.steps_until_end())
        if steps:
            self._advance(slots, steps)
        snapshot, rows = self._snapshot(slots), dict(slots.rows)
        return _Look(snapshot, rows, slots.release_ended())

    def _read(self, look: _Look, slots: Slots) -> list[Said]:
        """Return what is complete by a look, and free the slots of rows that had ended then and sit there still."""
        done = look.snapshot.done()
        found = {
            slot: row
            for slot, row in look.rows.items()
            if done[slot] and (slot in look.ended or slots.rows.get(slot) is row)
        }
        slots.release([slot for slot in found if slot not in look.ended])
        answers = look.snapshot.answers(list(found)) if found else []
        said = [slots.answered(row, answer) for row, answer in zip(found.values(), answers, strict=True)]
        return [one for one in said if one is not None]

    def _fill(self, seats: Sequence[Seat]) -> None:
        longest = max(len(question.token_ids) for seat in seats for question in seat.ask.questions)
        if self._cache.reserve(longest + max(self._settings.max_new_tokens, PROMPT_MULTIPLE)):
            self._language.reserve_positions(self._cache.length)
        size = self._settings.pictures_per_prefill
        with self._times.time("prefill"):
            for start in range(0, len(seats), size):
                self._prefill.begin(seats[start : start + size])

    def _steady_sizes(self, num_rows: int) -> tuple[int, ...]:
        """Return to how many rows a batch may shrink as its rows end; a GPU's replayed steps have one shape anyway."""
        if self._state.done.device.type != "cpu":
            return (num_rows,)
        if num_rows not in self._sizes:
            self._sizes[num_rows] = steady_sizes(self._language.weights, num_rows)
        return self._sizes[num_rows]

    def _advance(self, slots: Slots, steps: int) -> None:
        with self._times.time("decode"):
            self._steps.advance(slots.num_rows, steps=steps, extent=slots.extent(steps))
        slots.pass_time(steps)

    def _snapshot(self, slots: Slots) -> Snapshot:
        return Snapshot(self._state, slots.num_rows)

    def _close_holes(self, slots: Slots) -> None:
        """Where fewer rows cost less and nobody waits for the holes between them, close these."""
        if not self._steps.fixed_shape and slots.num_holes > MOVE_SHARE * slots.num_rows:
            self._move_together(slots)

    def _move_together(self, slots: Slots) -> None:
        extent = slots.extent(0)
        moved = slots.move_together()
        sources, targets = (torch.tensor(places, dtype=torch.int64, device=self._state.done.device) for places in moved)
        self._cache.copy(sources, targets, extent)
        self._state.copy(sources, targets)
