"""`python -m llava_train --config FILE --data D/captioner --vision_tower F/export/hf --output_dir R`."""

import sys

from llava_train.config import FineTuneConfig
from runtime.config import parse
from runtime.entry import run_entry


def main() -> None:
    """Fine-tune a captioner and say where it was published."""
    config = parse(FineTuneConfig, None, prog="python -m llava_train", description="Fine-tune a LLaVA captioner.")
    if config.preview:
        from llava_train.preview import preview

        preview(config, sys.stdout.write, in_colour=sys.stdout.isatty())
        return
    from llava_train.phases import fine_tune

    print(f"captioner: {fine_tune(config)}")


if __name__ == "__main__":
    run_entry(main)
