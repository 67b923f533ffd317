"""A captioner that says what it saw and with whom, and misbehaves on cue; units held in memory."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from imagetext.sidecars import read_sidecar_table
from recaption.captioners.base import Answered, Caption, CaptionerLostError, Failed, FailureKind, Item, Request, Result
from recaption.captioners.positions import batches_by_position
from recaption.config import RecaptionConfig
from recaption.engine.report import UnitReport
from recaption.engine_config import EngineConfig
from recaption.executors.local import caption_units
from recaption.inputs.units import InputRow
from recaption.job.manifest import describe_job, write_manifest
from recaption.quality.config import CanaryConfig
from tests.recaption.engine.pictures import name_of, png, prepare


@dataclass(frozen=True, kw_only=True)
class Script:
    """What goes wrong, by the name of the picture."""

    batch_size: int = 4
    batch_seconds: float = 0.0
    reject: tuple[str, ...] = ()
    fail: dict[str, tuple[FailureKind, int]] = field(default_factory=dict)
    """Kind of failure, and how often it comes before an answer."""
    max_batch: int = 1 << 30
    """Larger batches run out of memory."""
    lose: tuple[str, ...] = ()
    lose_once: tuple[str, ...] = ()
    die: tuple[str, ...] = ()
    hang: tuple[str, ...] = ()
    once: str | None = None
    """File whose presence says that dying and hanging is over."""
    forget: tuple[str, ...] = ()
    """Pictures of which no result ever comes."""


class ScriptedCaptioner:
    """Answer in batches by position: a caption says the picture, its place in the batch and the batch's length."""

    captioner_id = "scripted"

    def __init__(self, script: Script, memory: dict[str, int]):
        self._script, self._memory = script, memory

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        return prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        for batch in batches_by_position(items, self._script.batch_size):
            time.sleep(self._script.batch_seconds)
            requests = [place for place in batch if isinstance(place, Request)]
            for request in requests:
                self._break_down(name_of(request.picture))
            for number, place in enumerate(batch):
                if isinstance(place, Request):
                    yield from self._result(place, f"at {number} of {len(batch)}", len(requests))

    def _break_down(self, name: str) -> None:
        script = self._script
        self._memory[name] = self._memory.get(name, 0) + 1
        if script.once is not None and (name in script.die or name in script.hang):
            if Path(script.once).exists():
                return
            Path(script.once).touch()
        if name in script.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if name in script.hang:
            time.sleep(3600)
        if name in script.lose or (name in script.lose_once and self._memory[name] == 1):
            raise CaptionerLostError(f"lost over {name}")

    def _result(self, request: Request, place: str, num_requests: int) -> Iterator[Result]:
        script, name = self._script, name_of(request.picture)
        kind, times = script.fail.get(name, ("rejected", 0))
        if name in script.forget:
            return
        if name in script.reject:
            yield Failed(ticket=request.ticket, kind="rejected", message="no")
        elif num_requests > script.max_batch:
            yield Failed(ticket=request.ticket, kind="out_of_memory", message=f"{num_requests} at once")
        elif self._memory[name] <= times:
            yield Failed(ticket=request.ticket, kind=kind, message="later")
        else:
            captions = tuple(
                Caption(text=f"{name} {place}", finish_reason="stop", num_tokens=4, mean_logprob=-0.5)
                for _ in request.prompts
            )
            yield Answered(ticket=request.ticket, captions=captions)


def _open(script: Script, memory: dict[str, int], config: RecaptionConfig) -> ScriptedCaptioner:
    return ScriptedCaptioner(script, memory)


def opening(script: Script) -> Callable[[RecaptionConfig], ScriptedCaptioner]:
    """Return what opens the captioner, here or in another process; it remembers across reopenings in one process."""
    return partial(_open, script, {})


@dataclass(frozen=True, kw_only=True)
class ListUnit:
    """A unit of rows held in memory."""

    name: str
    content: tuple[InputRow, ...]
    stated_rows: int | None = None

    def count_rows(self) -> int:
        return len(self.content) if self.stated_rows is None else self.stated_rows

    def fingerprint(self) -> str:
        return self.name

    def rows(self) -> Iterator[InputRow]:
        yield from self.content

    def keys(self) -> list[str]:
        return [row.key for row in self.content]

    def column_types(self) -> dict[str, Any]:
        return {}


def unit(index: int, images: Sequence[bytes | None]) -> ListUnit:
    rows = tuple(
        InputRow(key=f"{index:05d}{place:04d}", image=image)
        if image is not None
        else InputRow(key=f"{index:05d}{place:04d}", image=None, status="failed_to_download", error_message="HTTP 404")
        for place, image in enumerate(images)
    )
    return ListUnit(name=f"{index:05d}", content=rows)


def units(num_units: int, num_rows: int = 10) -> list[ListUnit]:
    return [unit(index, [png(100 * index + place) for place in range(num_rows)]) for index in range(num_units)]


def settings(output_dir: Path, *, workers: int = 1, **engine: Any) -> RecaptionConfig:
    """Return a config for a captioner that needs no model; in this process unless asked otherwise."""
    return RecaptionConfig(
        output_dir=output_dir,
        model=Path("none"),
        shards="none",
        device="cpu",
        workers=workers,
        engine=EngineConfig(**{"supervised": False, "decode_processes": 0, **engine}),
        canary=CanaryConfig(pictures=0),
    )


def begin(config: RecaptionConfig) -> RecaptionConfig:
    """Write the manifest of a job of the scripted captioner."""
    write_manifest(config.output_dir, describe_job(config, ScriptedCaptioner.captioner_id, 0))
    return config


def caption(config: RecaptionConfig, work: list[Any], script: Script) -> dict[str, UnitReport]:
    begin(config)
    return {report.name: report for report in caption_units(config, work, open_captioner=opening(script))}


def table(folder: Path, name: str = "00000") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_sidecar_table(folder, name).to_pylist()
    return rows


def statuses(folder: Path, name: str = "00000") -> list[str]:
    return [row["status"] for row in table(folder, name)]


def parquets(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
