"""Units under way: their rows, what became of each, and what is left to ask."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from recaption.captioners.base import Caption
from recaption.engine.preparation import Prepared
from recaption.inputs.units import SUCCESS, InputRow, Unit

UNDECODABLE = "failed_to_decode"
REJECTED = "failed_to_caption"
GAVE_UP = "gave_up"

RowState = Literal["waiting", "asked", "again", "suspect", "settled"]
"""waiting: not asked yet, or to be asked in its place once more. asked: the captioner has it. again: to be asked alone,
after a failure that may pass. suspect: to be asked with nothing else in flight, since workers died over it. settled: it
has its captions, or the reason why not."""


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
    leaks: tuple[str, ...] = ()
    """What the captions give back of their prompts or of the row's own caption (`recaption.leaks`)."""
    first_captions: tuple[Caption, ...] | None = None
    """Captions of which some leak, while the row is asked again without its own caption."""
    leaking: tuple[bool, ...] = ()
    """Which of the first captions leak."""

    def fail(self, status: str, message: str) -> None:
        """Settle the row without a caption, or with those it has, if it was asked for better ones."""
        if self.first_captions is None:
            self.status, self.error_message = status, message
        else:
            self.captions = self.first_captions
        self._settle()

    def succeed(self, captions: tuple[Caption, ...]) -> None:
        """Settle the row with a caption for each prompt."""
        assert len(captions) == len(self.prompts), f"{len(captions)} captions for {len(self.prompts)} prompts"
        self.captions = captions
        self._settle()

    def _settle(self) -> None:
        assert self.state != "settled", f"row {self.row.key} was settled twice"
        self.state = "settled"
        self.picture = self.preparing = None
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
    all_read: bool = False

    @property
    def finished(self) -> bool:
        """Tell whether every row is settled."""
        return self.all_read and self.num_settled == len(self.rows)


@dataclass(frozen=True, kw_only=True)
class AllRead:
    """The end of a unit's rows."""

    unit: OpenUnit


def died_over(deaths: int) -> str:
    """Return the reason for which a row was given up on after deaths."""
    return f"given up on: {deaths} times a worker or its captioner died with this row in flight"
