"""The verbs of `python -m eval`: what each is told, and what does it.

Modules are named, not imported: `--help` answers before torch is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb."""

    config: type[Any]
    """Dataclass of its options."""
    description: str
    """What it does, above its options."""
    module: str
    function: str
    """Takes the config."""

    def run(self, config: Any) -> None:
        """Import what does it, and do it."""
        getattr(import_module(self.module), self.function)(config)


def _suite(name: str) -> Verb:
    description = f"Measure with the suite `{name}`."
    return Verb(config=EvalConfig, description=description, module="eval.measuring", function=f"measure_{name}")


def _from_results(name: str) -> Verb:
    description = "Gather and print what was measured."
    return Verb(config=ResultsConfig, description=description, module="eval.printing", function=name)


VERBS: Mapping[str, Verb] = {
    **{name: _suite(name) for name in SUITES},
    "benchmark": Verb(
        config=BenchmarkConfig,
        description="Measure a CLIP on published test sets.",
        module="eval.benchmarking",
        function="benchmark",
    ),
    "pictures": Verb(
        config=PicturesConfig,
        description="Measure a folder of drawn pictures: distances to true ones, and fit to the prompts.",
        module="eval.measuring",
        function="measure_pictures",
    ),
    "geneval_folder": Verb(
        config=GenEvalFolderConfig,
        description="Lay drawn pictures out for GenEval's evaluate_images.py.",
        module="eval.geneval.layout",
        function="lay_out",
    ),
    "lmms": Verb(
        config=LmmsConfig,
        description="Take over what lmms-eval measured of a captioner.",
        module="eval.measuring",
        function="take_over_lmms",
    ),
    "geneval": Verb(
        config=GenEvalConfig,
        description="Take over what GenEval found in pictures.",
        module="eval.geneval.taking_over",
        function="take_over",
    ),
    **{name: _from_results(name) for name in ("collect", "tables", "report")},
    "export": Verb(
        config=ExportConfig,
        description="Write rows as other tools read them.",
        module="eval.exports",
        function="export",
    ),
}
