"""Entry: `python -m clip_train --config FILE [--dotted.override V] [--plan]`."""

import sys
from collections.abc import Sequence

from runtime.entry import run_entry

PLAN_FLAG = "--plan"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train, export; or print what that would cost."""
    from clip_train.config import ClipTrainConfig
    from runtime.config import parse

    arguments = list(sys.argv[1:] if argv is None else argv)
    config = parse(
        ClipTrainConfig,
        [word for word in arguments if word != PLAN_FLAG],
        prog="python -m clip_train",
        description=f"""Train a CLIP on images with mixed captions and export it for open_clip. With {PLAN_FLAG}: print
its parameters, updates, hours and memory, and train nothing; that needs neither weights nor data.""",
    )
    if PLAN_FLAG in arguments:
        from clip_train.plan import describe

        print(describe(config))
        return
    from clip_train.train import train

    train(config)


if __name__ == "__main__":
    run_entry(main)
