"""Run jobs side by side on the cores or GPUs there are; finished ones are skipped, failed ones named."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openrecap import processes
from openrecap.console import Console
from openrecap.eta import seconds_left
from openrecap.jobs import Job
from openrecap.machine import Machine
from openrecap.marks import Marks

_POLL_SECONDS = 0.2


@dataclass
class _State:
    """Jobs by where they stand. Order of `waiting` is priority."""

    waiting: list[Job]
    running: list[processes.Running] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    seconds: dict[Job, float] = field(default_factory=dict)
    """What finished jobs took, now or before."""
    failed: dict[str, Path] = field(default_factory=dict)

    def ready(self) -> list[Job]:
        """Return the waiting jobs whose needs are done."""
        return [job for job in self.waiting if all(need in self.done for need in job.needs)]


def run(
    jobs: Sequence[Job], *, machine: Machine, marks: Marks, logs: Path, console: Console, redo_stale: bool = False
) -> bool:
    """Run all `jobs` that are not done and return whether every one finished.

    A failed job stops what needs it; everything independent goes on. Side by side or one after another, results are the
    same: each process has the threads its job declares. A folder made from other inputs than now is refused, or with
    `redo_stale` removed and made again.
    """
    state = _State(waiting=list(jobs))
    console.begin(len(jobs))
    try:
        _settle(state, marks, console, redo_stale)
        _launch(state, machine, marks, logs, console)
        while state.running:
            time.sleep(_POLL_SECONDS)
            if _reap(state, machine, marks, console):
                _settle(state, marks, console, redo_stale)
                _launch(state, machine, marks, logs, console)
    finally:
        for running in state.running:
            running.process.kill()
            running.process.wait()
    console.end(done=len(state.done), failed=state.failed, blocked=[job.name for job in state.waiting])
    return not state.failed and not state.waiting


def _launch(state: _State, machine: Machine, marks: Marks, logs: Path, console: Console) -> None:
    """Start ready jobs by priority up to the first that does not fit: narrower ones must not overtake it for ever."""
    for job in state.ready():
        if not _fits(job, state, machine):
            return
        state.waiting.remove(job)
        inputs = marks.inputs_of(job)
        marks.begin(job, inputs)
        gpu, log = _free_gpu(state, machine), logs / f"{job.name}.log"
        state.running.append(processes.start(job, log, gpu=gpu, started=time.monotonic(), inputs=inputs))
        console.started(job)


def _settle(state: _State, marks: Marks, console: Console, redo_stale: bool) -> None:
    """Take finished jobs and stale folders off the waiting list until none is left among the ready ones."""
    for job in list(state.waiting):
        if job not in state.ready():
            continue
        if marks.is_done(job):
            state.waiting.remove(job)
            state.done.add(job.name)
            mark = marks.read(job.name)
            if mark is not None:
                state.seconds[job] = mark.seconds
            console.skipped(job)
        elif marks.is_stale(job) and redo_stale:
            shutil.rmtree(job.output)
            console.removed(job)
        elif marks.is_stale(job):
            state.waiting.remove(job)
            state.failed[job.name] = job.output
            console.refused(job)


def _fits(job: Job, state: _State, machine: Machine) -> bool:
    """Cores are shared by declared threads; a job wider than the machine runs alone."""
    if machine.gpus:
        return len(state.running) < len(machine.gpus)
    busy = sum(min(running.job.threads, machine.cores) for running in state.running)
    return busy + min(job.threads, machine.cores) <= machine.cores


def _seconds_left(state: _State, machine: Machine) -> float | None:
    running = [job.job for job in state.running]
    spent = sum((time.monotonic() - job.started for job in state.running), 0.0)
    side_by_side = len(machine.gpus) or machine.cores
    return seconds_left([*state.waiting, *running], state.seconds, spent=spent, side_by_side=side_by_side)


def _free_gpu(state: _State, machine: Machine) -> str | None:
    taken = {running.gpu for running in state.running}
    return next((gpu for gpu in machine.gpus if gpu not in taken), None)


def _reap(state: _State, machine: Machine, marks: Marks, console: Console) -> bool:
    """Take ended processes off the running list and return whether there were any."""
    num_before = len(state.running)
    for running in list(state.running):
        code = running.process.poll()
        if code is None:
            continue
        state.running.remove(running)
        seconds = time.monotonic() - running.started
        job = running.job
        if code == 0 and job.output.exists():
            marks.write(job, running.inputs, seconds)
            state.done.add(job.name)
            state.seconds[job] = seconds
            console.finished(job, seconds, left=_seconds_left(state, machine))
        else:
            state.failed[job.name] = running.log
            console.failed(job, code, running.log)
    return len(state.running) < num_before
