"""Entry: `python -m dit_train --config FILE [--dotted.override V] [--plan]`."""

import sys
from collections.abc import Sequence

from runtime.entry import run_entry

PLAN_FLAG = "--plan"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train, export; or print what that would cost."""
    from dit_train.config import DitTrainConfig
    from runtime.config import parse

    arguments = list(sys.argv[1:] if argv is None else argv)
    config = parse(
        DitTrainConfig,
        [word for word in arguments if word != PLAN_FLAG],
        prog="python -m dit_train",
        description=f"""Train a text-to-image diffusion transformer on mixed captions. With {PLAN_FLAG}: print its
parameters, the work of encoding and training, hours and memory, and train nothing; that needs no weights, no data.""",
    )
    if PLAN_FLAG in arguments:
        from dit_train.plan import describe

        print(describe(config))
        return
    # Imported after parsing, so that --help and a wrong field are answered at once.
    from dit_train.train import train

    train(config)


if __name__ == "__main__":
    run_entry(main)
