"""Work on independent items in processes side by side."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from runtime.parent import end_with_parent

Item = TypeVar("Item")

_start_error: Exception | None = None
"""What `start` raised in this worker process; a pool would tell the parent no more than that it broke."""


def finish_side_by_side(
    items: Sequence[Item],
    work: Callable[[Item], object],
    *,
    num_workers: int,
    start: Callable[[int], object] | None = None,
) -> Iterator[Item]:
    """Do `work` on every item, a free worker taking the next, and yield each item as it is finished.

    `start` is called once in every worker with its index from 0. One worker, or one item, is this process itself;
    others are spawned, not forked (a fork would copy the locks of libraries' threads), and end with this process. The
    first error, of `work` or of `start`, stops the work and is raised as it is; what is finished stays. Raises OSError
    when a worker is killed.
    """
    num_workers = min(num_workers, len(items))
    if num_workers <= 1:
        yield from _finish_here(items, work, start)
        return
    context = multiprocessing.get_context("spawn")
    indices = context.SimpleQueue()
    for index in range(num_workers):
        indices.put(index)
    with ProcessPoolExecutor(num_workers, context, _start_worker, (start, indices, os.getpid())) as pool:
        futures = {pool.submit(partial(_work_started, work), item): item for item in items}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, perhaps for memory; run the same command to continue"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _finish_here(
    items: Sequence[Item], work: Callable[[Item], object], start: Callable[[int], object] | None
) -> Iterator[Item]:
    if items and start is not None:
        start(0)
    for item in items:
        work(item)
        yield item


def _start_worker(start: Callable[[int], object] | None, indices: "SimpleQueue[int]", parent: int) -> None:
    global _start_error
    end_with_parent(parent)
    if start is None:
        return
    try:
        start(indices.get())
    except Exception as error:  # noqa: BLE001 - raised again by the first piece of work, where the parent sees it
        _start_error = error


def _work_started(work: Callable[[Item], object], item: Item) -> None:
    if _start_error is not None:
        raise _start_error
    work(item)
