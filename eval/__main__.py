"""`python -m eval <verb>`: measure a run, gather what was measured, and print tables and the report."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from eval.config import (
    SUITES,
    BenchmarkConfig,
    EvalConfig,
    ExportConfig,
    GenEvalConfig,
    GenEvalFolderConfig,
    LmmsConfig,
    PicturesConfig,
    ResultsConfig,
)
from runtime import config as configuration
from runtime.entry import run_entry
from runtime.errors import UserError

VERBS = (*SUITES, "benchmark", "pictures", "geneval_folder", "lmms", "geneval", "collect", "tables", "report", "export")
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
    """Parse the verb and hand the rest to it."""
    # The matrices here are small: on several threads numpy's BLAS is many times slower, above all on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    verb = arguments[0]
    if verb not in VERBS:
        raise UserError("unknown verb", where="eval", found=verb, wanted=" | ".join(VERBS))
    if verb in SUITES:
        _measure(verb, arguments[1:])
    elif verb in _OTHERS:
        _OTHERS[verb](arguments[1:])
    else:
        _print_results(verb, arguments[1:])


def _measure(verb: str, argv: Sequence[str]) -> None:
    config = configuration.parse(
        EvalConfig, argv, prog=f"python -m eval {verb}", description=f"Measure with the suite `{verb}`."
    )
    from eval import measuring

    measuring.SUITES[verb](config)


def _measure_pictures(argv: Sequence[str]) -> None:
    description = "Measure a folder of drawn pictures: distances to true ones, and fit to the prompts."
    config = configuration.parse(PicturesConfig, argv, prog="python -m eval pictures", description=description)
    from eval.measuring import measure_pictures

    measure_pictures(config)


def _take_over(argv: Sequence[str]) -> None:
    config = configuration.parse(
        LmmsConfig, argv, prog="python -m eval lmms", description="Take over what lmms-eval measured of a captioner."
    )
    from eval.measuring import take_over_lmms

    take_over_lmms(config)


def _lay_out_for_geneval(argv: Sequence[str]) -> None:
    description = "Lay drawn pictures out for GenEval's evaluate_images.py."
    config = configuration.parse(
        GenEvalFolderConfig, argv, prog="python -m eval geneval_folder", description=description
    )
    from eval.geneval.layout import lay_out

    lay_out(config)


def _take_over_geneval(argv: Sequence[str]) -> None:
    config = configuration.parse(
        GenEvalConfig, argv, prog="python -m eval geneval", description="Take over what GenEval found in pictures."
    )
    from eval.geneval.taking_over import take_over

    take_over(config)


def _benchmark(argv: Sequence[str]) -> None:
    config = configuration.parse(
        BenchmarkConfig, argv, prog="python -m eval benchmark", description="Measure a CLIP on published test sets."
    )
    from eval.benchmarking import benchmark

    benchmark(config)


def _export(argv: Sequence[str]) -> None:
    config = configuration.parse(
        ExportConfig, argv, prog="python -m eval export", description="Write rows as other tools read them."
    )
    from eval.exports import export

    export(config)


_OTHERS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "lmms": _take_over,
    "benchmark": _benchmark,
    "pictures": _measure_pictures,
    "geneval_folder": _lay_out_for_geneval,
    "geneval": _take_over_geneval,
    "export": _export,
}


def _print_results(verb: str, argv: Sequence[str]) -> None:
    config = configuration.parse(
        ResultsConfig, argv, prog=f"python -m eval {verb}", description="Gather and print what was measured."
    )
    from eval import printing

    actions: Mapping[str, Callable[[ResultsConfig], None]] = {
        "collect": printing.collect,
        "tables": printing.tables,
        "report": printing.report,
    }
    actions[verb](config)


if __name__ == "__main__":
    run_entry(main)
