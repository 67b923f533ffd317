"""Entry: `python -m clip_train --config FILE [--dotted.override V]`."""

from runtime.entry import run_entry


def main() -> None:
    """Parse, train, export."""
    from clip_train.config import ClipTrainConfig
    from clip_train.train import train
    from runtime.config import parse

    train(parse(ClipTrainConfig, prog="python -m clip_train", description="Train a CLIP on mixed captions."))


if __name__ == "__main__":
    run_entry(main)
