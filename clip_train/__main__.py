"""Entry: `python -m clip_train --config FILE [--dotted.override V]`."""

from collections.abc import Sequence

from runtime.entry import run_entry


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train, export."""
    from clip_train.config import ClipTrainConfig
    from runtime.config import parse

    config = parse(
        ClipTrainConfig,
        argv,
        prog="python -m clip_train",
        description="Train a CLIP on images with mixed captions and export it for open_clip.",
    )
    from clip_train.train import train

    train(config)


if __name__ == "__main__":
    run_entry(main)
