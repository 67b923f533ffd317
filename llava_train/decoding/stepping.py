"""One decoding step for every row, run operation by operation or replayed as a graph recorded once."""

from collections.abc import Callable

import torch

from llava_train.decoding.cache import KeyValueCache
from llava_train.decoding.language import LanguagePasses
from llava_train.decoding.rows import RowState

_WARM_UP_STEPS = 3
"""Steps before a recording: kernels are chosen, compiled and given their workspaces in the first ones."""


class EagerSteps:
    """Run steps for the first rows only, and look at no place behind the farthest of them."""

    fixed_shape = False
    """Fewer rows cost less, so that rows are worth moving together."""

    def __init__(self, language: LanguagePasses, cache: KeyValueCache, state: RowState):
        self._language, self._cache, self._state = language, cache, state

    def advance(self, num_rows: int, *, steps: int, extent: int) -> None:
        """Take steps for the first rows; `extent` is more than any position in the last of them."""
        for _ in range(steps):
            self.one_step(num_rows, extent)

    def one_step(self, num_rows: int, extent: int) -> None:
        """Run the last token of each row and choose the next."""
        state = self._state
        hidden = self._language.step(self._cache, state.tokens[:num_rows], state.positions[:num_rows], extent)
        state.advance(num_rows, self._language.logits(hidden))


class GraphSteps:
    """Replay one recorded step for all slots and all their places: the host only says "again"."""

    fixed_shape = True
    """All slots are computed, used or not."""

    def __init__(self, steps: EagerSteps, cache: KeyValueCache, state: RowState):
        self._steps, self._cache, self._state = steps, cache, state
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recorded_length = 0

    def advance(self, num_rows: int, *, steps: int, extent: int) -> None:
        """Take steps for all slots; a recording made before the cache grew is made anew."""
        assert extent <= self._cache.length, "positions behind the cache's end"
        if self._graph is None or self._recorded_length != self._cache.length:
            self._record()
        assert self._graph is not None
        for _ in range(steps):
            self._graph.replay()

    def _record(self) -> None:
        """Record one step. Nothing is recorded by running it but what it will do; warming up does run it."""
        # What was recorded before may still be running, over a cache that has moved since.
        torch.cuda.current_stream().synchronize()
        self._graph = None
        self._recorded_length = self._cache.length
        done = self._state.done.clone()
        # Rows that have ended stay as they are, so that warming up leaves no trace in the answers under way. Their keys
        # and values are written once more where the first step writes them: the same numbers.
        self._state.done.fill_(True)
        self._graph = record(lambda: self._steps.one_step(len(done), self._cache.length))
        self._state.done.copy_(done)


def record(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Record what `work` queues on the current GPU, after having run it a few times beside the main stream."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UP_STEPS):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    # Only this thread must leave the GPU alone meanwhile: others may be sending pictures.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph
