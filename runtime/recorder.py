"""What a training run tells the world: metric lines, speed, progress, wandb."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch

from runtime.atomic import write_json
from runtime.flops import FlopLedger
from runtime.hardware import peak_flops_per_second
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from runtime.progress import Progress
from runtime.run import METRICS_FILE, SPEED_FILE, Run
from runtime.source import BatchSource, SkippingSource
from runtime.training import Training
from runtime.wandb_writer import WandbWriter

T = TypeVar("T")

Workload = Callable[[Any], Mapping[str, int | float]]
"""What a microbatch holds, counts by plural names such as `images`; each becomes a rate. `flops` among them is its
useful work, forward and backward.
"""

FLOPS_FILE = "flops.json"
_SECONDS_BETWEEN_REPORTS = 1.0


class Recorder:
    """Write metrics.jsonl (a pure function of config and data), speed.jsonl (of the machine), progress and wandb."""

    def __init__(
        self,
        run: Run,
        config: LoopConfig,
        training: Training,
        start: int,
        flops_per_sample: int | float | None,
        workload: Workload | None = None,
        source: BatchSource | None = None,
    ):
        self._source = source
        self._run, self._config, self._training, self._start = run, config, training, start
        self._writes = is_main_process()
        self._metrics = JsonLines(run.folder / METRICS_FILE)
        self._speed = JsonLines(run.folder / SPEED_FILE)
        self._flops_per_sample = flops_per_sample
        self._workload = workload
        self._amounts: dict[str, float] = {}
        self._peak = _peak_of_all(config, training)
        self._waited_seconds = 0.0
        self._window_started = time.monotonic()
        self._window_update = start
        self._last_report = 0.0

    def __enter__(self) -> "Recorder":
        mode = self._config.wandb if self._writes and self._start < self._config.num_updates else "off"
        self._wandb = WandbWriter(mode, self._run.folder, self._run.config, self._run.config_sha256)
        self._progress = Progress(
            total=self._config.num_updates,
            initial=self._start,
            unit="updates",
            label=self._run.folder.name,
            enabled=self._writes,
        ).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        self._wandb.close()

    def timed_next(self, updates: Iterator[Sequence[T]]) -> Sequence[T]:
        """Return the next update's microbatches, counting what they hold and the time waited for them."""
        asked = time.monotonic()
        for microbatches in updates:
            self._waited_seconds += time.monotonic() - asked
            self._count(microbatches)
            return microbatches
        raise RuntimeError("the batch source ended before the last update; sources are endless")

    def apart(self, work: Callable[[], T]) -> T:
        """Do work that is no training, such as an evaluation: its seconds count in no rate."""
        began = time.monotonic()
        result = work()
        self._window_started += time.monotonic() - began
        return result

    def measured(self, update: Callable[[], T]) -> T:
        """Take an update; the first one of a run is counted by the FLOP ledger when its cost is not known."""
        if self._workload is not None:
            return update()
        if self._flops_per_sample is None:
            self._flops_per_sample = self._run.read(FLOPS_FILE).get("flops_per_sample")
        if self._flops_per_sample is not None:
            return update()
        ledger = FlopLedger()
        result = ledger.measure(update)
        samples = self._config.batch_size / self._training.engine.world_size
        self._flops_per_sample = ledger.total / samples
        if self._writes:
            facts = {"flops_per_sample": self._flops_per_sample, "by_operator_per_update_and_rank": ledger.by_operator}
            write_json(self._run.folder / FLOPS_FILE, facts)
        return result

    def after_update(self, update: int, extra: Mapping[str, int | float | Path]) -> None:
        """Write what is due after so many updates."""
        self._progress.advance()
        numbers = {name: value for name, value in extra.items() if not isinstance(value, Path)}
        if numbers:
            self._write(self._metrics, {"update": update, **numbers})
        if self._writes:
            self._wandb.show({name: value for name, value in extra.items() if isinstance(value, Path)}, update)
        if update % self._config.log_every_updates and update != self._config.num_updates:
            return
        averages = self._training.window.close()
        facts = {"update": update, "samples": update * self._config.batch_size, **averages, **self._skipped_of_all()}
        self._write(self._metrics, {**facts, "learning_rate": self._training.learning_rate(update - 1)})
        speed = self._measure_speed(update)
        self._write(self._speed, {"update": update, **speed})
        loss = averages.get("loss", math.nan)
        shown = {"loss": loss, "samples/s": speed["samples_per_second"]}
        self._progress.show(shown | ({"MFU": speed["mfu"]} if "mfu" in speed else {}))
        self._report(update, loss, speed)

    def last_line(self) -> dict[str, int | float]:
        """Return the last line of averaged metrics, also when this start had nothing left to do."""
        lines = [row for row in self._metrics.rows() if "loss" in row]
        return lines[-1] if lines else {}

    def _count(self, microbatches: Sequence[Any]) -> None:
        if self._workload is None:
            return
        for microbatch in microbatches:
            for name, amount in self._workload(microbatch).items():
                self._amounts[name] = self._amounts.get(name, 0.0) + amount

    def _write(self, file: JsonLines, row: Mapping[str, Any]) -> None:
        if self._writes:
            file.append(row)
            self._wandb.write(row, row["update"])

    def _measure_speed(self, update: int) -> dict[str, int | float]:
        now = time.monotonic()
        seconds = max(now - self._window_started, 1e-9)
        samples = (update - self._window_update) * self._config.batch_size
        amounts = self._amounts_of_all()
        flops = amounts.pop("flops", samples * (self._flops_per_sample or 0.0))
        speed = {
            "samples_per_second": samples / seconds,
            "seconds_per_update": seconds / (update - self._window_update),
            "flops_per_second": flops / seconds,
            "waiting_share": self._waited_seconds / seconds,
            **{f"{name}_per_second": amount / seconds for name, amount in amounts.items()},
        }
        if self._peak is not None:
            speed["mfu"] = speed["flops_per_second"] / self._peak
        self._window_started, self._window_update, self._waited_seconds = now, update, 0.0
        return speed

    def _amounts_of_all(self) -> dict[str, float]:
        """Return what the window's microbatches held on all ranks, and count anew."""
        names = sorted(self._amounts)
        engine = self._training.engine
        # Ranks count the same names: each asks the same workload about batches of one kind.
        mine = torch.tensor([self._amounts[name] for name in names], dtype=torch.float64, device=engine.device)
        self._amounts.clear()
        return dict(zip(names, engine.sum_over_ranks(mine).tolist())) if names else {}

    def _skipped_of_all(self) -> dict[str, int]:
        """Return the samples that all ranks have left out since the run began, by reason."""
        if not isinstance(self._source, SkippingSource):
            return {}
        counts = sum(
            (Counter(each) for each in self._training.engine.gather_objects(self._source.skipped())), Counter()
        )
        return {f"skipped/{reason}": count for reason, count in sorted(counts.items())}

    def _report(self, update: int, loss: float, speed: Mapping[str, int | float]) -> None:
        done = update == self._config.num_updates
        if time.monotonic() - self._last_report < _SECONDS_BETWEEN_REPORTS and not done:
            return
        self._last_report = time.monotonic()
        left = (self._config.num_updates - update) * speed["seconds_per_update"]
        self._run.report_progress(
            update=update,
            num_updates=self._config.num_updates,
            loss=loss if math.isfinite(loss) else None,
            seconds_left=round(left, 1),
            **speed,
        )


def _peak_of_all(config: LoopConfig, training: Training) -> float | None:
    """Return the most FLOPs a second that all ranks' devices could do, where it is known."""
    device = training.engine.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = peak_flops_per_second(device.type, config.precision, name)
    return None if peak is None else peak * training.engine.world_size
