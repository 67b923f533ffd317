"""Decode ahead of the captioner: in processes that one picture each may bring down, or in a thread of the worker."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol, runtime_checkable

from recaption.engine.decode_process import READY, SLOT_BYTES, receive, serve
from recaption.engine.preparation import Prepare, Prepared, prepare_picture
from runtime.shared_arrays import shared_array

DEATHS_MAX = 2
"""Processes that one picture may kill: the first may have died of something else, such as a lack of memory."""
EXIT_SECONDS = 10.0
"""Time for a process whose pipe broke to be gone, and so to say how it ended."""
START_SECONDS_MAX = 600.0
"""A decode process imports what prepares pictures; from a cold network file system that takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One picture to prepare, and whom to tell."""

    data: bytes
    answer: "Future[Prepared]"
    began: Callable[[], None]
    """Called where the picture is decoded in the worker itself, just before."""


@runtime_checkable
class Decoders(Protocol):
    """Whatever prepares pictures ahead; answers may come in any order."""

    def start(self, prepare: Prepare) -> None:
        """Begin with the tasks, under a captioner's preparation."""

    def submit(self, task: Task) -> None:
        """Queue a picture; its answer is a `Prepared` or the error that no picture is to blame for."""

    def close(self) -> None:
        """Drop what is queued and end."""


def open_decoders(num_processes: int, seconds_max: float) -> Decoders:
    """Return decoders that already start; 0 processes are a thread, which overlaps as far as Python's lock allows."""
    return DecodeProcesses(num_processes, seconds_max) if num_processes else DecodeThread()


class DecodeThread:
    """Decode in one thread of this process. Pillow's codecs release Python's lock; a picture that crashes a codec or
    never ends takes the worker with it, which its supervisor notices.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def start(self, prepare: Prepare) -> None:
        """Begin with the tasks."""
        threading.Thread(target=self._work, args=(prepare,), daemon=True, name="decoding").start()

    def submit(self, task: Task) -> None:
        """Queue a picture."""
        self._tasks.put(task)

    def close(self) -> None:
        """Drop what is queued and end."""
        _drop(self._tasks)
        self._tasks.put(None)

    def _work(self, prepare: Prepare) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.began()
                task.answer.set_result(prepare_picture(task.data, prepare))
            except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the answer
                task.answer.set_exception(error)


class DecodeProcesses:
    """Decode in spawned processes, each with a thread here that hands it one picture at a time.

    A process that dies or takes longer than `seconds_max` over a picture is replaced; it was at work on that picture
    alone, so no other row suffers.
    """

    def __init__(self, num_processes: int, seconds_max: float):
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._seconds_max = seconds_max
        # Started before the captioner is opened, so that both load side by side.
        self._children = [_Child() for _ in range(num_processes)]
        self._threads: list[threading.Thread] = []

    def start(self, prepare: Prepare) -> None:
        """Begin with the tasks."""
        pickled = pickle.dumps(prepare)
        for child in self._children:
            self._threads.append(
                threading.Thread(target=self._work, args=(child, pickled), daemon=True, name="decoding")
            )
            self._threads[-1].start()

    def submit(self, task: Task) -> None:
        """Queue a picture."""
        self._tasks.put(task)

    def close(self) -> None:
        """Drop what is queued and end the processes."""
        _drop(self._tasks)
        for child in self._children:
            self._tasks.put(None)
            child.kill()
        for thread in self._threads:
            thread.join(EXIT_SECONDS)
        for child in self._children:
            child.reap()

    def _work(self, child: "_Child", pickled: bytes) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.answer.set_result(self._prepare(child, pickled, task.data))
            except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the answer
                task.answer.set_exception(error)

    def _prepare(self, child: "_Child", pickled: bytes, data: bytes) -> Prepared:
        for _ in range(DEATHS_MAX):
            child.make_ready(pickled)
            answer = child.ask(data, self._seconds_max)
            if answer is not None:
                return answer
        return Prepared(error=f"decoding it killed {DEATHS_MAX} processes in turn ({child.last_end})")


class _Child:
    """One decode process at a time; a dead one is replaced when it is next needed."""

    def __init__(self) -> None:
        self.last_end = ""
        self._closed = False
        self._ready = False
        self._start()

    def make_ready(self, pickled: bytes) -> None:
        """Hand over the preparation and wait until the process can work; raises OSError when it can't."""
        if self._process is None:
            self._start()
        if self._ready:
            return
        try:
            self._pipe.send_bytes(pickled)
            self._ready = self._pipe.poll(START_SECONDS_MAX) and self._pipe.recv_bytes() == READY
        except (EOFError, OSError):
            self._ready = False
        if not self._ready:
            raise OSError(f"a decode process could not start ({self._end()}); its own error stands above")

    def ask(self, data: bytes, seconds_max: float) -> Prepared | None:
        """Return the answer; None where the process died over the picture."""
        try:
            self._pipe.send_bytes(data)
            if self._pipe.poll(seconds_max):
                answer = receive(self._pipe, self._slot)
                assert isinstance(answer, Prepared), answer
                return answer
        except (EOFError, OSError):
            self.last_end = self._end()
            return None
        self._end(exit_seconds=0.0)
        return Prepared(error=f"decoding it took longer than {seconds_max:g} s", decoding_seconds=seconds_max)

    def kill(self) -> None:
        """End the process for good."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def reap(self) -> None:
        """Leave neither a dead process nor an open pipe behind, once its thread has ended."""
        if self._process is not None:
            self._end(exit_seconds=0.0)

    def _start(self) -> None:
        if self._closed:
            raise OSError("the decode processes are closed")
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        slot = shared_array(context, "B", SLOT_BYTES)
        self._slot = memoryview(slot).cast("B")
        arguments = (theirs, slot, os.getpid())
        self._process: SpawnProcess | None = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False

    def _end(self, exit_seconds: float = EXIT_SECONDS) -> str:
        """Give the process some time to end, kill it, forget it, and say how it ended."""
        process, self._process = self._process, None
        self._pipe.close()
        if process is None:
            return "closed"
        process.join(exit_seconds)
        process.kill()
        process.join()
        return describe_exit(process.exitcode)


def describe_exit(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _drop(tasks: "queue.SimpleQueue[Task | None]") -> None:
    with suppress(queue.Empty):
        while True:
            tasks.get_nowait()
