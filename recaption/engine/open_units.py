"""Units under way: their rows, what became of each, and what is left to ask."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from recaption.captioners.base import Caption, Request
from recaption.engine.preparation import Prepared
from recaption.inputs.units import SUCCESS, InputRow, Unit
from recaption.quality.attempts import Attempt, chosen_captions
from recaption.quality.policy import Again

UNDECODABLE = "failed_to_decode"
REJECTED = "failed_to_caption"
GAVE_UP = "gave_up"
ROWS_AGAIN_ALWAYS = 8
"""Defective rows of a unit that are asked again whatever share of it they are."""

RowState = Literal["waiting", "asked", "again", "suspect", "defective", "settled"]
"""waiting: not asked yet, or to be asked in its place once more. asked: the captioner has it. again: to be asked alone,
after a failure that may pass. defective: its captions have defects, and it is to be asked once more with others of its
unit. suspect: to be asked with nothing else in flight, since workers died over it. settled: it has its captions, or the
reason why not."""


@dataclass(eq=False, kw_only=True)
class OpenRow:
    """One row of a unit under way. Its encoded image is dropped once it is decoded, its picture once it is settled."""

    unit: "OpenUnit"
    index: int
    """Place in the unit."""
    row: InputRow
    """Identity and what the input says; without the image."""
    prompts: tuple[str, ...]
    preparing: "Future[Prepared] | None" = None
    refusal: tuple[str, str] | None = None
    """Status and reason for which the row is not to be asked about."""
    picture: Any = None
    state: RowState = "waiting"
    askings: int = 0
    deaths: int = 0
    """Workers that died, and captioners that were lost, with this row in flight."""
    not_before: float = 0.0
    """Earliest time, by the monotonic clock, to ask again."""
    out_of_memory: bool = False
    """Whether it is asked again in a batch of its own size, since memory ran out."""
    slot: int | None = None
    """Where the black box records it while it is in flight."""
    status: str = SUCCESS
    error_message: str | None = None
    captions: tuple[Caption, ...] | None = None
    flags: tuple[tuple[str, ...], ...] = ()
    """What each of the captions raises."""
    attempts: list[Attempt] = field(default_factory=list)
    """Everything the row was answered."""
    features: Any = None
    """A scorer's features of the picture, until the unit's captions are scored."""
    scores: dict[str, float] = field(default_factory=dict)
    """CLIP scores by sidecar column."""
    again: Again | None = None
    """How it is asked once more, since its captions have defects."""
    round: "tuple[OpenRow, ...]" = ()
    """Rows of the unit, itself among them, that are asked once more side by side."""

    @property
    def num_failures(self) -> int:
        """Return how often it was asked without an answer."""
        return self.askings - len(self.attempts)

    def request(self, ticket: int) -> Request:
        """Return what is asked of the captioner under a ticket."""
        usual = Request(ticket=ticket, picture=self.picture, prompts=self.prompts, key=self.row.key)
        if self.again is None:
            return usual
        return replace(usual, decoding=self.again.decoding, max_new_tokens=self.again.max_new_tokens)

    def fail(self, status: str, message: str) -> None:
        """Settle the row without a caption, or with those it has, if it was asked for better ones."""
        if not self.attempts:
            self.status, self.error_message = status, message
        self.settle()

    def settle(self) -> None:
        """Settle the row, with the best of the captions that it has."""
        if self.attempts:
            self.captions, self.flags = chosen_captions(self.attempts)
        assert self.state != "settled", f"row {self.row.key} was settled twice"
        self.state = "settled"
        self.picture = self.preparing = None
        self.round = ()
        self.unit.num_settled += 1


@dataclass(eq=False, kw_only=True)
class OpenUnit:
    """One unit from its first row read to its sidecar."""

    unit: Unit
    serial: int
    """Number under which this worker was handed the unit."""
    num_rows: int
    deaths: Mapping[int, int]
    """Deaths over rows before this worker took the unit, by the row's index."""
    began: float
    rows: list[OpenRow] = field(default_factory=list)
    num_handed_out: int = 0
    """Rows whose places the captioner has been told, since it was opened or lost last."""
    num_settled: int = 0
    defective: list[OpenRow] = field(default_factory=list)
    """Rows that wait to be asked once more, until every other one is settled."""
    num_rounds: int = 0
    """How often rows were asked once more."""
    all_read: bool = False

    @property
    def finished(self) -> bool:
        """Tell whether every row is settled."""
        return self.all_read and self.num_settled == len(self.rows)

    def take_rounds(self, share_max: float) -> "list[tuple[OpenRow, ...]]":
        """Take the defective rows out, those to be asked again side by side together, in their order.

        Before the first such asking, rows beyond a share of the unit's (eight at least) are settled as they are.
        """
        rows, self.defective = sorted(self.defective, key=lambda row: row.index), []
        if not self.num_rounds:
            most = max(ROWS_AGAIN_ALWAYS, int(share_max * len(self.rows)))
            rows, left = rows[:most], rows[most:]
            for row in left:
                row.settle()
        self.num_rounds += 1
        rounds: dict[str, list[OpenRow]] = {}
        for row in rows:
            assert row.again is not None, f"row {row.row.key} waits to be asked again, and nothing says how"
            rounds.setdefault(row.again.step, []).append(row)
        for together in rounds.values():
            for row in together:
                row.round = tuple(together)
        return [tuple(together) for together in rounds.values()]


@dataclass(frozen=True, kw_only=True)
class AllRead:
    """The end of a unit's rows."""

    unit: OpenUnit


def died_over(deaths: int) -> str:
    """Return the reason for which a row was given up on after deaths."""
    return f"given up on: {deaths} times a worker or its captioner died with this row in flight"
