"""When checkpoints are written, and how a run continues from one."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runtime import checkpoints, launch
from runtime.errors import UserError
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from runtime.run import METRICS_FILE, REFUSED_FILE, SPEED_FILE, Run
from runtime.source import BatchSource, CountingSource
from runtime.training import Training

_AVERAGE = "average"
"""In a rank's part of a checkpoint: its share of the averaged weights."""


class Keeper:
    """Save a run's whole state, and restore it: the weights before anything shards them, then the rest."""

    def __init__(self, run: Run, config: LoopConfig, source: BatchSource):
        self._run, self._config, self._source = run, config, source
        self._data_fingerprint = source.fingerprint()
        self._checkpoint = checkpoints.latest(run.checkpoints)

    def is_due(self, update: int) -> bool:
        """Tell whether a checkpoint follows this many updates."""
        return update == self._config.num_updates or update % self._config.checkpoint_every_updates == 0

    def restore_weights(self, model: nn.Module) -> None:
        """Copy the latest whole checkpoint's weights, if there is one, into a model that is still whole.

        Raises UserError when the data or the number of ranks that share the optimizer changed, or the model has other
        tensors than the checkpoint.
        """
        if self._checkpoint is not None:
            self._refuse_other_data(self._checkpoint)
            self._refuse_other_parts(self._checkpoint)
            checkpoints.load_weights(self._checkpoint.folder / checkpoints.MODEL_FILE, model)

    def resume(self, training: Training) -> int:
        """Restore all but the weights, drop metrics written after them, and return the updates they have seen."""
        update = 0 if self._checkpoint is None else self._checkpoint.update
        if self._checkpoint is not None:
            self._restore(training, checkpoints.load_state(self._checkpoint, training.engine.rank))
        if is_main_process():
            for name in (METRICS_FILE, SPEED_FILE, REFUSED_FILE):
                JsonLines(self._run.folder / name).truncate(update)
        training.engine.wait_for_all()
        return update

    def save(self, training: Training, update: int) -> None:
        """Write a checkpoint; all ranks call this, and none leaves before it is whole."""
        engine = training.engine
        counts = engine.gather_objects(self._source_counts())
        weights = engine.whole_weights(checkpoints.tied_once(engine.model).items())
        if is_main_process():
            checkpoints.save(
                self._run.checkpoints,
                update=update,
                weights=weights,
                training_state=_state(training) | {"source": [count for count in counts if count is not None]},
                data_fingerprint=self._data_fingerprint,
                keep_last=self._config.keep_last,
                add_parts=partial(write_part, training) if engine.is_sharded else None,
            )
        elif engine.is_sharded:
            write_part(training, None)
        engine.wait_for_all()

    def _restore(self, training: Training, state: dict[str, Any]) -> None:
        # Where ranks share out the weights, each has its part of the average beside its part of the optimizer's.
        average = state["optimizer"].pop(_AVERAGE, state["ema"])
        training.engine.load_optimizer_state(state["optimizer"])
        training.window.load_state_dict(state["window"])
        training.guard.load_state_dict(state["guard"])
        if training.ema is not None:
            training.ema.load_state_dict(average)
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

    def _refuse_other_parts(self, checkpoint: checkpoints.Checkpoint) -> None:
        wanted = 0 if self._config.sharding == "none" else launch.world_size()
        if checkpoint.num_parts != wanted:
            raise UserError(
                "the optimizer's state of this checkpoint is shared out to another number of processes",
                where=checkpoint.folder,
                found=checkpoint.num_parts,
                wanted=wanted,
                fix="Continue it on as many as before, or start a new run in another output_dir.",
            )


def write_part(training: Training, folder: Path | None) -> int:
    """Write this rank's part of the optimizer's state, and of the average, into the folder that the main process gives.

    Returns how many parts there are, once all are written. Raises UserError when the folder can't be seen from here.
    """
    engine = training.engine
    folder = engine.gather_objects(folder)[0]
    if not folder.is_dir():
        fix = "Give all processes an output_dir that all of them see"
        raise UserError(
            "the main process's folder is not here", where=folder, found=f"none on rank {engine.rank}", fix=fix
        )
    with (folder / checkpoints.part_file(engine.rank, engine.world_size)).open("wb") as file:
        average = {} if training.ema is None else {_AVERAGE: training.ema.state_dict()}
        torch.save({**engine.optimizer_state(), **average}, file)
        os.fsync(file.fileno())
    engine.wait_for_all()
    return engine.world_size


def _state(training: Training) -> dict[str, Any]:
    is_sharded = training.engine.is_sharded
    whole = {} if is_sharded else {"optimizer": training.engine.optimizer_state()}
    return {
        **whole,
        "ema": None if training.ema is None or is_sharded else training.ema.state_dict(),
        "window": training.window.state_dict(),
        "guard": training.guard.state_dict(),
    }
