"""Updates that were refused because of what came out of them: written down, and borne up to a declared number."""

from runtime.errors import NonFiniteError
from runtime.launch import is_main_process
from runtime.loop_config import LoopConfig
from runtime.metrics import JsonLines
from runtime.run import REFUSED_FILE, Run
from runtime.training import Training


class Refusals:
    """Write each refused update's loss, gradient norm and keys down; stop the run when there are too many."""

    def __init__(self, run: Run, config: LoopConfig, training: Training):
        self._file = JsonLines(run.folder / REFUSED_FILE)
        self._most, self._training = config.max_refused_updates, training

    def bear(self, update: int, refusal: NonFiniteError) -> None:
        """Go on without this update; raise the refusal again when it is one more than the run may have."""
        if is_main_process():
            # JSON has no number for what is not finite.
            facts = {"loss": str(refusal.loss), "grad_norm": str(refusal.grad_norm), "keys": list(refusal.keys)}
            self._file.append({"update": update, **facts})
        self._training.window.refused_updates += 1
        if self._training.window.refused_updates > self._most:
            raise refusal
