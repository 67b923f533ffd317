"""When checkpoints are written, and how a run continues from one."""

from typing import Any

from runtime import checkpoints
from runtime.errors import UserError
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from runtime.run import METRICS_FILE, SPEED_FILE, Run
from runtime.source import BatchSource, CountingSource
from runtime.training import Training


class Keeper:
    """Save a training's whole state, and restore it."""

    def __init__(self, training: Training, run: Run, config: LoopConfig, source: BatchSource):
        self._training, self._run, self._config, self._source = training, run, config, source
        self._data_fingerprint = source.fingerprint()

    def is_due(self, update: int) -> bool:
        """Tell whether a checkpoint follows this many updates."""
        return update == self._config.num_updates or update % self._config.checkpoint_every_updates == 0

    def resume(self) -> int:
        """Restore the latest whole checkpoint, drop metrics written after it, and return the updates it has seen.

        Raises UserError when the data changed, or the model has other tensors than the checkpoint.
        """
        checkpoint = checkpoints.latest(self._run.checkpoints)
        update = 0 if checkpoint is None else checkpoint.update
        if checkpoint is not None:
            self._refuse_other_data(checkpoint)
            self._restore(checkpoints.load(checkpoint, self._training.engine.model))
        if is_main_process():
            for name in (METRICS_FILE, SPEED_FILE):
                JsonLines(self._run.folder / name).truncate(update)
        self._training.engine.wait_for_all()
        return update

    def save(self, update: int) -> None:
        """Write a checkpoint; the main process writes, the others wait for it."""
        counts = self._training.engine.gather_objects(self._source_counts())
        if is_main_process():
            checkpoints.save(
                self._run.checkpoints,
                update=update,
                model=self._training.engine.model,
                training_state=self._state() | {"source": [count for count in counts if count is not None]},
                data_fingerprint=self._data_fingerprint,
                keep_last=self._config.keep_last,
            )
        self._training.engine.wait_for_all()

    def _state(self) -> dict[str, Any]:
        training = self._training
        return {
            "optimizer": training.optimizer.state_dict(),
            "ema": None if training.ema is None else training.ema.state_dict(),
            "window": training.window.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        training = self._training
        training.optimizer.load_state_dict(state["optimizer"])
        training.window.load_state_dict(state["window"])
        if training.ema is not None:
            training.ema.load_state_dict(state["ema"])
        if isinstance(self._source, CountingSource) and is_main_process():
            self._source.load_state_dict(state["source"])

    def _source_counts(self) -> dict[str, Any] | None:
        return self._source.state_dict() if isinstance(self._source, CountingSource) else None

    def _refuse_other_data(self, checkpoint: checkpoints.Checkpoint) -> None:
        if checkpoint.data_fingerprint != self._data_fingerprint:
            raise UserError(
                "the training data changed since this checkpoint was written",
                where=checkpoint.folder,
                found=self._data_fingerprint,
                wanted=checkpoint.data_fingerprint,
                fix="Restore the data, or start a new run in another output_dir.",
            )
