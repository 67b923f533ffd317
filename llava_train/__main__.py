"""`python -m llava_train --config FILE --data D/captioner --vision_tower F/export/hf --output_dir R [--plan]`."""

import sys

from llava_train.config import FineTuneConfig
from runtime.config import parse
from runtime.entry import run_entry

PLAN_FLAG = "--plan"
DESCRIPTION = f"""Fine-tune a LLaVA captioner. With {PLAN_FLAG}: print its parameters, memory and hours, and train
nothing; that needs neither weights nor data."""


def main() -> None:
    """Fine-tune a captioner and say where it was published, or print what that would cost, or what it would read."""
    arguments = sys.argv[1:]
    words = [word for word in arguments if word != PLAN_FLAG]
    config = parse(FineTuneConfig, words, prog="python -m llava_train", description=DESCRIPTION)
    if PLAN_FLAG in arguments:
        from llava_train.plan import describe

        print(describe(config))
        return
    if config.preview:
        from llava_train.preview import preview

        preview(config, sys.stdout.write, in_colour=sys.stdout.isatty())
        return
    from llava_train.phases import fine_tune

    print(f"captioner: {fine_tune(config)}")


if __name__ == "__main__":
    run_entry(main)
