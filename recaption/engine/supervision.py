"""Worker processes that are watched: one that dies or stops moving is replaced, and its units are done again.

A worker asks for a unit through its pipe and reports it there. Its black box says what it is doing and which rows it
has in flight; after a death these are counted in `job/attempts`, and a row that comes up too often is given up on. A
unit that can't be read, since workers hang or die while they do, is set aside until the others are finished.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from imagetext.sidecars import is_complete, read_mark
from recaption.config import RecaptionConfig
from recaption.engine.answering import OpenCaptioner, WorkerSpentError
from recaption.engine.attempts import add_deaths
from recaption.engine.black_box import PULSES, BlackBox
from recaption.engine.decoding import describe_exit
from recaption.engine.report import UnitReport
from recaption.engine.worker_process import DUMP_SIGNAL, Died, Give, work
from recaption.inputs.units import Unit
from runtime.atomic import remove_partials_of
from runtime.stop_signal import interrupts_held_back

TICK_SECONDS = 0.5
"""How often the supervisor looks at the black boxes."""
DUMP_SECONDS = 2.0
"""Time for a stuck worker to write down where it is."""
EXIT_SECONDS = 10.0
"""Time for a worker that closed its pipe to end, and so to say how."""
RESTART_SECONDS = 1.0
"""Pause before a dead worker is replaced, so that a fault at the start does not spin."""
_ASKED_TO_END = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""Exit codes of workers that somebody ended politely."""
ASKED_TOO_SECONDS = 1.0
"""Time for whoever ends a whole job to have asked its supervisor too."""
_NAMED_AT_MOST = 3


@dataclass(eq=False)
class _Worker:
    """One worker process and what was handed to it."""

    index: int
    process: SpawnProcess
    pipe: Connection
    box: BlackBox
    units: list[Unit] = field(default_factory=list)
    """Every unit handed out to this process, at the place of its serial."""
    reported: set[str] = field(default_factory=set)
    told_end: bool = False
    """Whether it was told that there are no more units."""

    @property
    def unfinished(self) -> list[Unit]:
        return [unit for unit in self.units if unit.name not in self.reported]


class Supervisor:
    """Run units through worker processes, and yield their reports; a context manager that leaves no process behind."""

    def __init__(
        self,
        config: RecaptionConfig,
        units: Iterator[Unit],
        *,
        num_workers: int,
        open_captioner: OpenCaptioner | None = None,
    ):
        self._config, self._units, self._open_captioner = config, units, open_captioner
        self._num_workers = num_workers
        self._returned: deque[Unit] = deque()
        self._workers: list[_Worker] = []
        self._num_deaths = 0
        """Deaths since a unit was last finished or a row given up on."""
        self._num_ends_by_unit: Counter[str] = Counter()
        """Workers that hung or died while they read a unit, nothing else being in flight."""
        self._set_aside: list[str] = []
        self._logs = config.output_dir / "job" / "logs"

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            _kill(worker)
            self._remove_litter(worker)

    def run(self) -> Iterator[UnitReport]:
        """Yield a report for every unit, as they are finished.

        Raises what a worker raised, or OSError when workers die one after the other without getting anywhere, and, once
        all others are finished, for units that can't be read.
        """
        for index in range(self._num_workers):
            self._start(index)
        while self._workers:
            handles = {worker.pipe: worker for worker in self._workers}
            for pipe in connection.wait(list(handles), timeout=TICK_SECONDS):
                assert isinstance(pipe, Connection), pipe
                yield from self._hear(handles[pipe])
            for worker in list(self._workers):
                if (stuck := self._stuck_at(worker)) is not None:
                    yield from self._replace_stuck(worker, stuck)
        self._raise_if_set_aside()

    def _start(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        box = BlackBox(context)
        # Until it says otherwise: a process that never gets to its first line is stuck as well.
        box.enter("opening")
        arguments = (self._config, index, theirs, box, self._log(index), os.getpid(), self._open_captioner)
        process = context.Process(target=work, args=arguments, name=f"worker-{index}")
        with interrupts_held_back():
            process.start()
        theirs.close()
        self._workers.append(_Worker(index, process, ours, box))

    def _log(self, index: int) -> Path:
        return self._logs / f"worker-{index}.txt"

    def _hear(self, worker: _Worker) -> Iterator[UnitReport]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._ended(worker)
            return
        if isinstance(message, Give):
            self._give(worker)
        elif isinstance(message, UnitReport):
            worker.reported.add(message.name)
            self._num_deaths = 0
            yield message
        else:
            assert isinstance(message, Died), message
            self._raise_unless_spent(message)

    def _give(self, worker: _Worker) -> None:
        unit = self._returned.popleft() if self._returned else next(self._units, None)
        if unit is None:
            worker.told_end = True
        else:
            worker.units.append(unit)
        with suppress(OSError):
            worker.pipe.send(unit)

    def _raise_unless_spent(self, message: Died) -> None:
        if isinstance(message.error, WorkerSpentError):
            print(f"{message.error}; starting a new worker", file=sys.stderr, flush=True)
            return
        if message.traceback is not None:
            print(message.traceback, file=sys.stderr, flush=True)
        raise message.error

    def _ended(self, worker: _Worker) -> Iterator[UnitReport]:
        """Tell a worker that has done its work from one that died."""
        if worker.told_end and not worker.unfinished:
            self._workers.remove(worker)
            _kill(worker)
            self._forget_empty_log(worker)
            return
        worker.process.join(EXIT_SECONDS)
        how = describe_exit(worker.process.exitcode) if worker.process.exitcode is not None else "lost its pipe"
        at = " and ".join(pulse for pulse in PULSES if worker.box.seconds_at(pulse)) or "nothing"
        if worker.process.exitcode in _ASKED_TO_END:
            # Then the job ends here, before rows in flight are blamed.
            time.sleep(ASKED_TOO_SECONDS)
        yield from self._replace(worker, f"worker {worker.index} died at {at} ({how})", counted=True)

    def _forget_empty_log(self, worker: _Worker) -> None:
        log = self._log(worker.index)
        if log.exists() and not log.stat().st_size:
            log.unlink()

    def _stuck_at(self, worker: _Worker) -> str | None:
        limits = self._config.engine.limits
        return next((pulse for pulse in PULSES if worker.box.seconds_at(pulse) > limits[pulse]), None)

    def _replace_stuck(self, worker: _Worker, pulse: str) -> Iterator[UnitReport]:
        log = self._log(worker.index)
        size = log.stat().st_size if log.exists() else 0
        assert worker.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(worker.process.pid, DUMP_SIGNAL)
        deadline = time.monotonic() + DUMP_SECONDS
        while time.monotonic() < deadline and (not log.exists() or log.stat().st_size == size):
            time.sleep(DUMP_SECONDS / 20)
        limit = self._config.engine.limits[pulse]
        said = f"worker {worker.index} hung in {pulse} for more than {limit:g} s (its stack is in {log})"
        if pulse == "reading":
            self._blame_unit(worker)
        # Rows in flight are innocent of a file system that hangs.
        yield from self._replace(worker, said, counted=pulse in ("captioning", "decoding"))

    def _replace(self, worker: _Worker, said: str, *, counted: bool) -> Iterator[UnitReport]:
        self._workers.remove(worker)
        _kill(worker)
        self._remove_litter(worker)
        self._num_deaths += 1
        if counted and self._count_deaths(worker):
            self._num_deaths = 0
        if self._num_deaths >= self._config.engine.deaths_max:
            raise OSError(
                f"{said}; workers died {self._num_deaths} times in turn and nothing was finished in between: "
                "look for the cause above, or in job/logs, then run the same command to continue"
            )
        print(f"{said}; starting another", file=sys.stderr, flush=True)
        yield from self._take_back(worker)
        time.sleep(RESTART_SECONDS)
        self._start(worker.index)

    def _take_back(self, worker: _Worker) -> Iterator[UnitReport]:
        """Queue a dead worker's units again; one that it had finished without saying so is reported."""
        for unit in reversed(worker.unfinished):
            if is_complete(self._config.output_dir, unit.name):
                mark = read_mark(self._config.output_dir, unit.name)
                statuses = {str(status): int(count) for status, count in mark["status_dict"].items()}
                yield UnitReport(name=unit.name, num_rows=int(mark["count"]), statuses=statuses, worker=worker.index)
            elif unit.name not in self._set_aside:
                self._returned.appendleft(unit)

    def _count_deaths(self, worker: _Worker) -> bool:
        """Count the death over the rows in flight; return whether one of them is given up on by that."""
        rows: dict[int, list[int]] = {}
        for serial, index in worker.box.in_flight():
            rows.setdefault(serial, []).append(index)
        if not rows:
            self._blame_unit(worker)
        gave_up = False
        for serial, indices in rows.items():
            deaths = add_deaths(self._config.output_dir, worker.units[serial].name, indices)
            gave_up = gave_up or any(deaths[index] == self._config.engine.row_attempts for index in indices)
        return gave_up

    def _blame_unit(self, worker: _Worker) -> None:
        """Count an end over the unit that was being read, and set it aside once there were too many."""
        serial = worker.box.unit_being_read
        if serial is None:
            return
        name = worker.units[serial].name
        self._num_ends_by_unit[name] += 1
        if self._num_ends_by_unit[name] >= self._config.engine.row_attempts:
            self._set_aside.append(name)
            said = f"{name}: set aside, after {self._num_ends_by_unit[name]} workers hung or died while they read it"
            print(said, file=sys.stderr, flush=True)

    def _raise_if_set_aside(self) -> None:
        if self._set_aside:
            named = ", ".join(self._set_aside[:_NAMED_AT_MOST]) + (", ..." if self._set_aside[_NAMED_AT_MOST:] else "")
            raise OSError(
                f"{len(self._set_aside)} units could not be read ({named}), all others are finished: see job/logs for "
                "where workers hung, then run the same command to read them again"
            )

    def _remove_litter(self, worker: _Worker) -> None:
        assert worker.process.pid is not None
        remove_partials_of(self._config.output_dir, worker.process.pid)


def supervised(
    config: RecaptionConfig,
    units: Iterator[Unit],
    *,
    num_workers: int,
    open_captioner: OpenCaptioner | None = None,
) -> Iterator[UnitReport]:
    """Caption units in watched worker processes and yield their reports, as `Supervisor.run` does."""
    with Supervisor(config, units, num_workers=num_workers, open_captioner=open_captioner) as supervisor:
        yield from supervisor.run()


def _kill(worker: _Worker) -> None:
    """End a worker and everything that it started."""
    pid = worker.process.pid
    assert pid is not None
    # The group is named after its first process: as long as that is not waited for, nobody else gets its number.
    for kill in (partial(os.killpg, pid), partial(os.kill, pid)):
        with suppress(ProcessLookupError, PermissionError):
            kill(signal.SIGKILL)
    worker.process.join()
    worker.pipe.close()
