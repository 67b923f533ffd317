"""One worker: units in, sidecars out, through one captioner that never pauses between them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from recaption.captioners.base import Captioner
from recaption.config import RecaptionConfig
from recaption.engine.answering import Answering, OpenCaptioner
from recaption.engine.attempts import read_deaths
from recaption.engine.black_box import BlackBox
from recaption.engine.clock import StageClock
from recaption.engine.decoding import Decoders, open_decoders
from recaption.engine.loading import Loader
from recaption.engine.preparation import Prepare
from recaption.engine.repair import book_captions
from recaption.engine.report import UnitReport
from recaption.engine.streaming import Stream
from recaption.engine.writing import Provenance, Writer
from recaption.inputs.units import Unit
from recaption.job.manifest import join_job
from recaption.prompts import job_prompts, prompts_for
from recaption.quality.canary import refuse_blind
from recaption.quality.clip_pixels import PrepareBoth
from recaption.quality.drift import DriftMonitor
from recaption.quality.policy import RepairPolicy
from recaption.quality.scoring import Scorer, Scoring


def run_worker(
    config: RecaptionConfig,
    units: Iterator[Unit],
    report: Callable[[UnitReport], None],
    *,
    open_captioner: OpenCaptioner | None = None,
    box: BlackBox | None = None,
    index: int = 0,
) -> None:
    """Caption units until there are no more, and report each when its sidecar and mark are on disk.

    The next unit is taken as soon as there is room for its rows. Raises UserError, OSError where reading or writing
    fails for good, and WorkerSpentError where only a new process may do better.
    """
    for finished in caption_stream(config, units, open_captioner=open_captioner, box=box, index=index):
        report(finished)


def caption_stream(
    config: RecaptionConfig,
    units: Iterator[Unit],
    *,
    open_captioner: OpenCaptioner | None = None,
    box: BlackBox | None = None,
    index: int = 0,
) -> Iterator[UnitReport]:
    """Yield the report of each unit once it is on disk; otherwise as `run_worker`."""
    _place(config, index)
    box, clock = BlackBox() if box is None else box, StageClock()
    num_processes = config.engine.num_decode_processes(on_cpu=_on_cpu(config), num_workers=config.workers)
    with ExitStack() as stack:
        decoders = open_decoders(num_processes, config.engine.decode_seconds_max)
        stack.callback(decoders.close)
        answering = Answering(config, open_captioner or _opener(), clock=clock, box=box)
        scorer = _open_scorer(config, box)
        decoders.start(_preparation(answering.captioner, scorer))
        writer = _writer(config, answering.captioner.captioner_id, num_processes, index, clock, box)
        stack.callback(writer.close)
        with box.at("captioning"):
            units = refuse_blind(config, answering.captioner, units)
        loader = _loader(config, units, decoders, clock, box)
        stack.callback(loader.close)
        scoring = None if scorer is None else Scoring(scorer, config.clip_score.batch_size, clock)
        stream = Stream(
            loader,
            row_attempts=config.engine.row_attempts,
            box=box,
            book=partial(book_captions, RepairPolicy(config)),
            share_again_max=config.repair.share_max,
            on_hand_out=None if scoring is None else scoring.take,
        )
        clock.take()
        loader.start()
        yield from _written(stream, answering, scoring, writer)


def _written(stream: Stream, answering: Answering, scoring: Scoring | None, writer: Writer) -> Iterator[UnitReport]:
    """Yield the report of each unit of a stream once it is answered, scored and on disk."""
    for _ in answering.settle(stream):
        if scoring is not None:
            scoring.work()
        while stream.finished:
            unit = stream.finished.popleft()
            if scoring is not None:
                scoring.finish(unit)
            writer.put(unit, answering.take_seconds(), time.monotonic() - unit.began)
        yield from writer.written()
    yield from writer.written(num_left_max=0)


def _writer(
    config: RecaptionConfig, captioner_id: str, num_processes: int, index: int, clock: StageClock, box: BlackBox
) -> Writer:
    """Join the job with a captioner, and open what writes its captions; raises UserError where it is not the job's."""
    manifest = join_job(config, captioner_id)
    provenance = Provenance(
        caption_columns=tuple(job_prompts(config)),
        prompt_id=manifest.prompt_id,
        captioner_id=manifest.captioner_id,
        manifest_sha256=manifest.sha256,
        decode_processes=num_processes,
        worker=index,
    )
    return Writer(
        config.output_dir,
        provenance,
        monitor=DriftMonitor(config),
        num_retries=config.engine.write_retries,
        clock=clock,
        box=box,
    )


def _loader(
    config: RecaptionConfig, units: Iterator[Unit], decoders: Decoders, clock: StageClock, box: BlackBox
) -> Loader:
    return Loader(
        units,
        decoders,
        engine=config.engine,
        clock=clock,
        box=box,
        prompts_for=partial(prompts_for, config),
        deaths_of=partial(read_deaths, config.output_dir),
    )


def _opener() -> OpenCaptioner:
    # Captioners bring torch or a client with them; whoever brings a captioner of his own needs neither.
    from recaption.captioners.opening import open_captioner

    return open_captioner


def _open_scorer(config: RecaptionConfig, box: BlackBox) -> Scorer | None:
    """Load what scores captions, if anything is to."""
    if config.clip_score.model is None:
        return None
    from recaption.quality.clip_scorer import ClipScorer
    from runtime.device import pick_device

    with box.at("opening"):
        return ClipScorer(config.clip_score.model, pick_device(config.device))


def _preparation(captioner: Captioner, scorer: Scorer | None) -> Prepare:
    return captioner.prepare if scorer is None else PrepareBoth(asked=captioner.prepare, scored=scorer.pixels)


def _place(config: RecaptionConfig, index: int) -> None:
    """Give this process its threads and, evenly, one of the visible GPUs."""
    import torch

    torch.set_num_threads(config.threads)
    if config.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(index % torch.cuda.device_count())


def _on_cpu(config: RecaptionConfig) -> bool:
    if config.device != "auto":
        return config.device == "cpu"
    import torch

    return not torch.cuda.is_available()
