"""Worker processes, one per core or device, that caption pending units side by side."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

from recaption.captioners.transformers_captioner import TransformersCaptioner, identify_prompt
from recaption.config import RecaptionConfig
from recaption.engine.captioning import caption_unit
from recaption.inputs.units import Unit
from recaption.job.manifest import Manifest, join_job
from recaption.job.marks import finish_unit
from runtime.side_by_side import finish_side_by_side

_captioner: TransformersCaptioner | None = None
"""The captioner of this worker process, loaded once."""
_manifest: Manifest | None = None
"""The job's, with which this worker agreed when it started."""


def caption_units(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[Unit]:
    """Caption units and write their sidecars; yield each as it is finished.

    A free worker takes the next unit. Batches never reach over a unit's end, so no result depends on who takes it. The
    first error stops the job; sidecars already written stay.
    """
    return finish_side_by_side(
        units,
        partial(_caption_unit, config),
        num_workers=config.workers,
        start=partial(_open_captioner, config),
    )


def _open_captioner(config: RecaptionConfig, worker_index: int) -> None:
    global _captioner, _manifest
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
    _manifest = join_job(config, _captioner.captioner_id)


def _caption_unit(config: RecaptionConfig, unit: Unit) -> None:
    assert _captioner is not None and _manifest is not None, "the worker has not been started"
    started = time.monotonic()
    rows = caption_unit(unit, _captioner, prompt_id=identify_prompt(config.prompt), batch_size=config.batch_size)
    finish_unit(
        config.output_dir,
        unit,
        rows,
        manifest_sha256=_manifest.sha256,
        wall_seconds=time.monotonic() - started,
        stage_seconds={},
    )
