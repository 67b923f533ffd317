"""Run a whole captioning job in the environment that `make setup-vllm` builds, killing vLLM's engine on the way.

    python -m tests.recaption.captioners.vllm_program OUTPUT RECAPTION_ARGUMENTS...

Runs `python -m recaption RECAPTION_ARGUMENTS...` in this process. Writes a JSON object: the sets of shards whose rows
the engine held at one time; how many engines were opened; whether squares are rendered without vLLM's processor; and
what became of a request longer than the model reads.
"""

import json
import sys
from pathlib import Path
from typing import Any

NUM_RESULTS_BEFORE_KILL = 20


class Watch:
    """What happens to the captioners of a job; kills the first one's engine once it has answered some rows."""

    def __init__(self) -> None:
        self.captioners: list[Any] = []
        self.held_together: set[tuple[str, ...]] = set()
        self.num_results = 0

    def open(self, config: Any) -> Any:
        """Open vLLM's captioner, watched."""
        from recaption.captioners.vllm_captioner import VllmCaptioner

        captioner = VllmCaptioner(config)
        self.captioners.append(captioner)
        step = captioner._step

        def watched_step(rows: Any) -> Any:
            # Before a job's rows come pictures that tell whether the captioner sees.
            shards = {row.request.key[:5] for row in rows.values() if row.request.key.isdigit()}
            self.held_together.add(tuple(sorted(shards)))
            if len(self.captioners) == 1 and self.num_results >= NUM_RESULTS_BEFORE_KILL:
                kill_engine()
            for result in step(rows):
                self.num_results += bool(shards)
                yield result

        captioner._step = watched_step  # type: ignore[method-assign]
        return captioner


def kill_engine() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in " ".join(child.cmdline()) + child.name():
            child.kill()


def ask_too_much(captioner: Any) -> Any:
    """Return what becomes of a request with more tokens than the model reads."""
    import numpy as np

    from recaption.captioners.base import Request

    request = Request(ticket=-1, picture=np.zeros((3, 4, 4), dtype=np.uint8), prompts=("word " * 1000,) * 3)
    (result,) = captioner.answer(iter([request]))
    return vars(result)


def main() -> None:
    output, *arguments = sys.argv[1:]
    from recaption import __main__ as command
    from recaption.captioners import opening

    watch = Watch()
    opening.open_captioner = watch.open
    sys.argv = ["recaption", *arguments]
    command.main()
    found = {
        "held_together": sorted(watch.held_together),
        "num_engines": len(watch.captioners),
        "knows_squares": watch.captioners[0]._prompts.knows_squares,
        "too_much": ask_too_much(watch.captioners[-1]),
    }
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
