"""Entry: `python -m dit_train.sample --pipeline R/export --prompts prompts.txt --out folder`."""

from runtime.entry import run_entry


def main() -> None:
    """Parse, draw what is left to draw."""
    from dit_train.sample_config import SampleConfig
    from runtime.config import parse

    description = "Draw pictures from a file of prompts; run again, it continues."
    config = parse(SampleConfig, None, prog="python -m dit_train.sample", description=description)
    from dit_train.samples import draw_samples

    draw_samples(config)


if __name__ == "__main__":
    run_entry(main)
