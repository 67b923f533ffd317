"""Many requests in flight at once: a stream goes in, each request's result comes out as soon as it is there."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from recaption.captioners.base import Item, Request, Result

Settle = Callable[[Request], Awaitable[Result]]
"""Asks about one request and gives its result; never raises over it."""


@dataclass(frozen=True)
class _End:
    """No more requests come, or something failed that is no request's fault."""

    num_requests: int
    error: BaseException | None


def settle_stream(
    items: Iterator[Item], settle: Settle, loop: asyncio.AbstractEventLoop, *, most_at_once: int
) -> Iterator[Result]:
    """Yield the result of every request among `items`, in the order in which they are settled.

    A thread of its own takes an item only when there is room for it, so that neither waits for the other: results come
    out while the stream has nothing new, and the stream is read while nobody takes results.
    """
    settled: queue.SimpleQueue[Result | _End] = queue.SimpleQueue()
    room = threading.Semaphore(most_at_once)
    abandoned = threading.Event()

    def take(done: "Future[Result]") -> None:
        room.release()
        if not done.cancelled():
            error = done.exception()
            settled.put(done.result() if error is None else _End(0, error))

    def feed() -> None:
        num_requests, error = 0, None
        try:
            for request in _requests(items, room):
                if abandoned.is_set():
                    return
                num_requests += 1
                asyncio.run_coroutine_threadsafe(_awaited(settle(request)), loop).add_done_callback(take)
        except BaseException as raised:  # noqa: BLE001 - raised again where results are taken
            error = raised
        settled.put(_End(num_requests, error))

    # A daemon: a stream that never goes on must not keep the process from ending.
    threading.Thread(target=feed, name="requests", daemon=True).start()
    try:
        yield from _until_all_settled(settled)
    finally:
        abandoned.set()
        room.release()


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread; at the end, whatever still runs in it is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="event loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _requests(items: Iterator[Item], room: threading.Semaphore) -> Iterator[Request]:
    """Yield requests, each taken from `items` when there is room for it."""
    while True:
        room.acquire()
        item = next((item for item in items if isinstance(item, Request)), None)
        if item is None:
            return
        yield item


def _until_all_settled(settled: "queue.SimpleQueue[Result | _End]") -> Iterator[Result]:
    num_settled, num_requests = 0, None
    while num_settled != num_requests:
        one = settled.get()
        if not isinstance(one, _End):
            num_settled += 1
            yield one
        elif one.error is not None:
            raise one.error
        else:
            num_requests = one.num_requests


async def _awaited(result: Awaitable[Result]) -> Result:
    return await result


async def _cancel_others() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
