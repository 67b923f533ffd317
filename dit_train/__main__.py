"""Entry: `python -m dit_train --config FILE [--dotted.override V]`."""

from runtime.entry import run_entry


def main() -> None:
    """Parse, train, export."""
    from dit_train.config import DitTrainConfig
    from runtime.config import parse

    description = "Train a text-to-image diffusion transformer on mixed captions."
    config = parse(DitTrainConfig, None, prog="python -m dit_train", description=description)
    # Imported after parsing, so that --help and a wrong field are answered at once.
    from dit_train.train import train

    train(config)


if __name__ == "__main__":
    run_entry(main)
