"""The one training loop: count, gradients, guard, step, log, save."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from runtime.checkpoints import tied_once, write_weights
from runtime.ema import Ema
from runtime.engine import Engine
from runtime.errors import NonFiniteError
from runtime.heldout import Heldout, heldout_loss
from runtime.keeper import Keeper
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig
from runtime.recorder import Recorder, Workload
from runtime.refusals import Refusals
from runtime.run import Run
from runtime.source import BatchSource
from runtime.stop_signal import EXIT_TERMINATED, StopSignal
from runtime.task import CoupledTask, Task
from runtime.training import Training

__all__ = ["FitResult", "LoopConfig", "fit"]

OnUpdate = Callable[[int, nn.Module, Ema | None], Mapping[str, int | float | Path]]
"""Called with the number of updates done, the model and its EMA; what it returns is logged, paths of pictures by wandb
alone.
"""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A trained model."""

    model: nn.Module
    """The model given to `fit`, trained in place; of no use by itself when ranks share it out."""
    ema: Ema | None
    """Its averaged weights, when asked for."""
    num_updates: int
    """Updates it has seen."""
    metrics: dict[str, int | float]
    """The last line of metrics."""
    engine: Engine = field(repr=False)
    """What holds the weights, whole or shared out."""

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return all weights by name, those that were trained as their averages; nothing on other ranks than the main.

        Every rank calls this.
        """
        assert self.ema is not None, "no average was asked for"
        averages = self.ema.averages()
        named = ((name, averages.get(name, tensor)) for name, tensor in tied_once(self.model).items())
        return self.engine.whole_weights(named)

    def save_weights(self, file: Path, *, part: str = "") -> None:
        """Write the trained weights to a safetensors file, whole or not at all, however ranks share them out.

        Every rank calls this; the main process writes, and none returns before it has. `part` names a part of the
        model ("llava"), whose weights alone are written, under the names they have in it.
        """
        prefix = f"{part}." if part else ""
        named = ((name, tensor) for name, tensor in tied_once(self.model).items() if name.startswith(prefix))
        weights = self.engine.whole_weights((name.removeprefix(prefix), tensor) for name, tensor in named)
        if is_main_process():
            write_weights(file, weights)
        self.engine.wait_for_all()


def fit(  # noqa: PLR0913 (the whole of what training needs, each named at the call)
    *,
    task: Task | CoupledTask,
    model: nn.Module,
    source: BatchSource,
    config: LoopConfig,
    run: Run,
    seed: int,
    learning_rate_multipliers: Mapping[str, int | float] | None = None,
    flops_per_sample: int | float | None = None,
    workload: Workload | None = None,
    heldout: Heldout | None = None,
    on_update: OnUpdate | None = None,
) -> FitResult:
    """Train a model in place, from the run's latest checkpoint when it has one.

    Killed at any moment and started again, the run continues and ends as the undisturbed one would have. SIGTERM
    saves a checkpoint and leaves with exit code 143. Raises NonFiniteError before the update that a non-finite loss
    or gradient would spoil, once more than `max_refused_updates` are; UserError when the run's data or model changed.

    The seconds of `heldout` and `on_update` count in no rate; `workload` says what the others are rates of.
    """
    keeper = Keeper(run, config, source)
    keeper.restore_weights(model)
    training = Training(task, model, config, seed, learning_rate_multipliers or {})
    start = keeper.resume(training)
    refusals = Refusals(run, config, training)

    def measure(update: int) -> Mapping[str, int | float | Path]:
        found: dict[str, int | float | Path] = {}
        if heldout is not None and heldout.is_due(update, config.num_updates):
            found.update(heldout_loss(training.engine, task, heldout, seed=seed))
        if on_update is not None:
            found.update(on_update(update, training.engine.model, training.ema))
        return found

    with Recorder(run, config, training, start, flops_per_sample, workload, source) as recorder, StopSignal() as stop:
        updates = source.updates(start, rank=training.engine.rank, world_size=training.engine.world_size)
        for step in range(start, config.num_updates):
            microbatches = recorder.timed_next(updates)
            try:
                stopping = recorder.measured(lambda: training.update(step, microbatches, stop=stop.received))  # noqa: B023
            except NonFiniteError as refusal:
                refusals.bear(step + 1, refusal)
                stopping = False
            extra = recorder.apart(lambda: measure(step + 1))  # noqa: B023
            recorder.after_update(step + 1, extra)
            if stopping or keeper.is_due(step + 1):
                keeper.save(training, step + 1)
            if stopping and step + 1 < config.num_updates:
                raise SystemExit(EXIT_TERMINATED)
    return FitResult(
        model=training.engine.model,
        ema=training.ema,
        num_updates=config.num_updates,
        metrics=recorder.last_line(),
        engine=training.engine,
    )
