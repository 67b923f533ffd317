"""Get as much out of a batch that goes wrong as there is in it: split it until what is at fault stands alone."""

import gc
from collections.abc import Callable, Iterator, Sequence

import torch

from recaption.captioners.base import Answered, Caption, CaptionerLostError, Failed, FailureKind, Request, Result
from recaption.captioners.positions import Place

Ask = Callable[[Sequence[Place]], Sequence[tuple[Caption, ...]]]
"""Answers a batch: the captions of every request in it, in order, holes passed over."""

_LOST_DEVICE = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "device-side assert", "HIP error")
"""What errors say after which a device answers nothing any more."""
_CPU_MEMORY = "DefaultCPUAllocator"
"""Allocator whose refusal torch raises as a plain RuntimeError."""


def answer_batch(batch: Sequence[Place], ask: Ask) -> Iterator[Result]:
    """Yield a result for every request of a batch.

    A batch that fails is halved, and its halves likewise: no row is asked more than log2(batch) + 1 times. A row that
    fails alone is at fault. Raises CaptionerLostError when the device is broken.
    """
    requests = [place for place in batch if isinstance(place, Request)]
    try:
        answers = ask(batch)
    except CaptionerLostError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary at which a poisonous row is told from healthy ones
        _raise_if_lost(error)
        kind, message = _fault(error)
    else:
        yield from (
            Answered(ticket=request.ticket, captions=captions)
            for request, captions in zip(requests, answers, strict=True)
        )
        return
    # Outside the handler: its traceback would keep the failed batch's tensors alive.
    if kind == "out_of_memory" and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
    if len(requests) == 1:
        yield Failed(ticket=requests[0].ticket, kind=kind, message=message)
        return
    middle = (len(requests) + 1) // 2
    yield from answer_batch(requests[:middle], ask)
    yield from answer_batch(requests[middle:], ask)


def _fault(error: Exception) -> tuple[FailureKind, str]:
    out_of_memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU_MEMORY in str(error)
    message = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ("out_of_memory" if out_of_memory else "rejected"), message


def _raise_if_lost(error: Exception) -> None:
    if isinstance(error, torch.OutOfMemoryError):
        return
    if isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _LOST_DEVICE):
        raise CaptionerLostError(f"{type(error).__name__}: {error}") from error
