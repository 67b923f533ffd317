"""Worker processes, one per core or device, that caption pending units side by side."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue

from imagetext.sidecars import write_sidecar
from recaption.captioner import TransformersCaptioner, identify_prompt
from recaption.captioning import caption_unit
from recaption.config import RecaptionConfig
from recaption.units import Unit
from runtime.parent import end_with_parent

_captioner: TransformersCaptioner | None = None
"""The captioner of this worker process, loaded once."""


def caption_units(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[Unit]:
    """Caption units and write their sidecars; yield each as it is finished.

    A free worker takes the next unit. Batches never reach over a unit's end, so no result depends on who takes it. The
    first error stops the job; sidecars already written stay.
    """
    num_workers = min(config.workers, len(units))
    if num_workers <= 1:
        yield from _caption_here(config, units)
        return
    context = multiprocessing.get_context("spawn")
    indices = context.SimpleQueue()
    for index in range(num_workers):
        indices.put(index)
    with ProcessPoolExecutor(num_workers, context, _start_worker, (config, indices, os.getpid())) as pool:
        futures = {pool.submit(_caption_unit, config, unit): unit for unit in units}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OSError(
                "a captioning worker was killed, perhaps for memory; run the same command to continue"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _caption_here(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[Unit]:
    if units:
        _open_captioner(config, worker_index=0)
    for unit in units:
        _caption_unit(config, unit)
        yield unit


def _start_worker(config: RecaptionConfig, indices: "SimpleQueue[int]", parent: int) -> None:
    end_with_parent(parent)
    _open_captioner(config, worker_index=indices.get())


def _open_captioner(config: RecaptionConfig, worker_index: int) -> None:
    global _captioner
    import torch

    torch.set_num_threads(config.threads)
    if config.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(worker_index % torch.cuda.device_count())
    _captioner = TransformersCaptioner(
        config.model,
        prompt=config.prompt,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        precision=config.precision,
        device=config.device,
    )


def _caption_unit(config: RecaptionConfig, unit: Unit) -> None:
    assert _captioner is not None, "the worker has not been started"
    rows = caption_unit(unit, _captioner, prompt_id=identify_prompt(config.prompt), batch_size=config.batch_size)
    write_sidecar(config.output_dir, unit.name, rows)
