"""Work done ahead in other processes, its results in order and the same for any number of them."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

from runtime.errors import UserError
from runtime.parent import end_with_parent

Task = TypeVar("Task")
Made = TypeVar("Made")

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What launchers and terminals send to a process group to stop it."""


def work_ahead(make: Callable[[Task], Made], tasks: Iterator[Task], num_workers: int) -> Iterator[Made]:
    """Yield what `make` makes of each task, in the tasks' order: here, or ahead in `num_workers` forked processes.

    The same for any number only where `make` depends on nothing but its task. The processes have this one's memory as
    it is at the first result, and end with it or with the iterator.

    Raises:
        UserError: that `make` raised, there or here.
        RuntimeError: at once, when one of the processes dies.
    """
    if num_workers == 0:
        yield from map(make, tasks)
        return
    loader = DataLoader(
        _Work(make),
        sampler=_Tasks(tasks),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=num_workers,
        # Forked workers share the parent's memory and need nothing picklable of it.
        multiprocessing_context="fork",
        worker_init_fn=partial(_start_worker, os.getpid()),
    )
    results = _start(loader)
    while True:
        try:
            result = next(results)
        except StopIteration:
            return
        except (ConnectionError, EOFError) as error:
            # What a process made and had not handed over yet goes with it.
            raise RuntimeError(f"DataLoader worker exited unexpectedly: {error}") from error
        if result.error is not None:
            raise result.error
        yield result.made


class _Result(NamedTuple):
    """A worker's answer; a user's mistake travels as a value, since the data loader would wrap it in a traceback."""

    made: Any
    error: UserError | None


class _Work(Dataset[_Result], Generic[Task, Made]):
    def __init__(self, make: Callable[[Task], Made]):
        self._make = make

    def __getitem__(self, task: Task) -> _Result:
        try:
            return _Result(self._make(task), None)
        except UserError as error:
            return _Result(None, error)


class _Tasks(Sampler[Any]):
    def __init__(self, tasks: Iterator[Any]):
        self._tasks = tasks

    def __iter__(self) -> Iterator[Any]:
        return self._tasks


def _start(loader: DataLoader[_Result]) -> Iterator[_Result]:
    """Start the workers, with the signals held back that would end one before it has left the process group."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, worker_index: int) -> None:
    # A launcher that stops a run signals its whole process group: the trainer then saves a checkpoint, for which its
    # workers must not die before it.
    os.setpgid(0, 0)
    while signal.sigtimedwait(_STOPS, 0) is not None:
        continue  # the group was told before this worker left it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    end_with_parent(parent)


def _unchanged(result: Any) -> Any:
    return result
