"""Work in other processes: the same results in the same order, and no silence when a process dies."""

import os
import re
import signal
import time
from itertools import count, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

import imagetext.work_ahead as work_ahead_module
from imagetext.work_ahead import work_ahead
from runtime.errors import UserError
from tests.processes import descendants, wait_until


def squared(number: int) -> tuple[int, int]:
    # The first ones are the slowest: order is kept, not luck.
    time.sleep(0.02 / (1 + number))
    return number * number, os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_from_as_many_processes(num_workers: int) -> None:
    results = list(islice(work_ahead(squared, count(), num_workers), 20))
    assert [result for result, _ in results] == [number * number for number in range(20)]
    processes = {process for _, process in results}
    assert processes == {os.getpid()} if num_workers == 0 else len(processes) == num_workers


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_user_s_mistake_stays_one_at_its_turn(num_workers: int) -> None:
    def make(number: int) -> int:
        if number == 5:
            raise UserError("shard is shorter than it was", where="00001.tar", found=1, wanted=2)
        return number

    results = work_ahead(make, iter(range(9)), num_workers)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"^00001\.tar: shard is shorter than it was: found 1, wanted 2$"):
        next(results)


def test_a_defect_of_ours_names_its_line() -> None:
    def make(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError, match=r"return 1 / number"):
        next(work_ahead(make, iter([0]), 1))


def _lose_a_worker(told: Connection) -> None:
    results = work_ahead(lambda _: os.getpid(), count(), 2)
    process = next(results)
    # The loader's own handler raises wherever this process is when it hears of the death: from the kill on, anywhere.
    try:
        os.kill(process, signal.SIGKILL)
        for _ in range(1000):
            next(results)
            time.sleep(0.05)
    except Exception as error:  # noqa: BLE001 - the other process tells one from another
        told.send(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def test_a_dead_process_is_an_error_at_once() -> None:
    context = get_context("fork")
    here, there = context.Pipe()
    trainer = context.Process(target=_lose_a_worker, args=(there,))
    trainer.start()
    assert here.poll(90), "it says nothing"
    assert re.match(r"RuntimeError: DataLoader worker .*(Killed|exited unexpectedly)", here.recv())
    trainer.join()


def _stopped_trainer(told: Connection) -> None:
    """Read results in a group of its own, on after its group was told to stop."""
    os.setsid()
    start_worker = work_ahead_module._start_worker

    def start_late(parent: int, worker_index: int) -> None:
        """Have the second worker still in its trainer's group when the group is told to stop."""
        time.sleep(worker_index * 0.5)
        start_worker(parent, worker_index)

    work_ahead_module._start_worker = start_late
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    results = work_ahead(lambda number: number, count(), 2)
    told.send(next(results))
    wait_until(lambda: stopped, "the signal")
    told.send([next(results) for _ in range(20)])


def test_a_signal_to_the_trainer_s_group_leaves_the_workers_alive() -> None:
    """Launchers stop a run by a signal to its whole group; the trainer saves before it leaves, and still needs them."""
    context = get_context("fork")
    here, there = context.Pipe()
    trainer = context.Process(target=_stopped_trainer, args=(there,))
    trainer.start()
    assert trainer.pid is not None
    assert here.recv() == 0
    assert len(descendants(trainer.pid)) == 2
    os.killpg(trainer.pid, signal.SIGTERM)
    assert here.recv() == list(range(1, 21))
    trainer.join()
    assert trainer.exitcode == 0
