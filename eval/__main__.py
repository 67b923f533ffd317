"""`python -m eval <verb>`: measure a run, gather what was measured, and print tables and the report."""

import os
import sys
from collections.abc import Sequence

from eval.verbs import VERBS
from runtime import config as configuration
from runtime.entry import run_entry
from runtime.errors import UserError

USAGE = """usage: python -m eval VERB --config FILE [--dotted.override VALUE] [--print_config]

measure a run:   captions  modes  captioner  clip  images  judges
any CLIP:        benchmark (on published test sets; it takes --model, --datasets.NAME and --output_dir)
any pictures:    pictures (a folder of drawn ones; --pictures, --reference or --scorers, and --output_dir)
                 geneval_folder (lay drawn pictures out for GenEval; --prompts, --pictures and --output_dir)
take over:       lmms (what lmms-eval measured; it takes --results, --run and --output_dir)
                 geneval (what GenEval found in pictures; --prompts, --results, --run and --output_dir)
from results:    collect  tables  report  export (rows for CLIP_benchmark and DataComp; --rows and --output_dir)

`python -m eval VERB --help` lists the options of a verb."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the verb and its options, and do it."""
    # The matrices here are small: on several threads numpy's BLAS is many times slower, above all on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    name, *options = arguments
    if name not in VERBS:
        raise UserError("unknown verb", where="eval", found=name, wanted=" | ".join(VERBS))
    verb = VERBS[name]
    verb.run(configuration.parse(verb.config, options, prog=f"python -m eval {name}", description=verb.description))


if __name__ == "__main__":
    run_entry(main)
