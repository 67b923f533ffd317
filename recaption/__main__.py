"""`python -m recaption run --output_dir RUN ...`, then `status RUN`, `verify RUN` and `export RUN`; or `import`."""

import json
import sys
from dataclasses import fields
from importlib import import_module
from typing import Any

from recaption.agreement.config import AgreeConfig
from recaption.audit.config import AuditConfig
from recaption.comparison.config import CompareConfig
from recaption.config import RecaptionConfig, StatusConfig, VerifyConfig
from recaption.coverage.config import CoverageConfig
from recaption.exchange.export_config import ExportConfig
from recaption.exchange.import_config import ImportConfig
from recaption.intake.config import IntakeConfig, TakedownConfig
from recaption.planning.config import PlanConfig
from recaption.report.config import ReportConfig
from recaption.statistics.config import StatisticsConfig
from runtime.config import parse
from runtime.entry import run_entry
from runtime.errors import UserError

VERBS = {
    "run": "Caption every row of the shards (or every file of a folder); continues where it stopped.",
    "plan": "Caption a few rows of a job and say what all of it will take: hours, cost, storage.",
    "status": "Say how far a job is, how fast it goes, what failed and why. RUN: the job's folder.",
    "verify": "Check every sidecar of a job against its input. RUN: the job's folder.",
    "export": "Join finished captions with their pictures: as shards or a Hugging Face data set. RUN: a job's folder.",
    "import": "Make sidecars for one's own shards of the captions published as Recap-DataComp-1B.",
    "coverage": "Say what an import came to: dead links, unmatched rows, versions, what survived. RUN: a folder.",
    "statistics": "Measure captions beside those that rows came with: words, vocabulary, CLIP scores. RUN: a folder.",
    "report": "Write the page of a run: counts, words, flags, pictures before and after. RUN: a folder.",
    "intake": "Look through an input first: duplicates, evaluation images, blocklists, flags. Then `run --intake`.",
    "takedown": "Take listed rows out of finished sidecars and exports. FOLDER ...: runs, imports, exports.",
    "compare": "Set captioners side by side on the same pictures. A B ...: folders of runs, or YAML files of settings.",
    "agree": "Compare greedy captions of two captioners: equal, or parted at a tie of two tokens. RUN: a folder.",
    "audit": "Count supported, unsupported and missed claims: by scene graphs, or by a vision model. RUN: a folder.",
}
CONFIGS: dict[str, type[Any]] = {
    "run": RecaptionConfig,
    "plan": PlanConfig,
    "status": StatusConfig,
    "verify": VerifyConfig,
    "export": ExportConfig,
    "import": ImportConfig,
    "coverage": CoverageConfig,
    "statistics": StatisticsConfig,
    "report": ReportConfig,
    "agree": AgreeConfig,
    "audit": AuditConfig,
    "compare": CompareConfig,
    "intake": IntakeConfig,
    "takedown": TakedownConfig,
}
WORK = {
    "run": "recaption.verbs.run",
    "plan": "recaption.planning.verbs.plan",
    "status": "recaption.verbs.status",
    "verify": "recaption.verbs.verify",
    "export": "recaption.exchange.verbs.export_captions",
    "import": "recaption.exchange.verbs.import_published",
    "report": "recaption.report.verbs.report",
    "compare": "recaption.comparison.verbs.compare",
    "agree": "recaption.agreement.verb.agree",
    "intake": "recaption.intake.running.intake",
    "takedown": "recaption.intake.takedown.take_down",
    "audit": "recaption.audit.running.audit",
    "coverage": "recaption.coverage.verbs.coverage",
    "statistics": "recaption.statistics.verbs.statistics",
}
"""Where each verb's function stands: imported only once its arguments are right, so that --help answers at once."""
RUN_FIELDS = {
    "status": "output_dir",
    "verify": "output_dir",
    "export": "recaptions",
    "statistics": "recaptions",
    "report": "recaptions",
    "agree": "recaptions",
    "audit": "recaptions",
    "coverage": "recaptions",
}
"""Fields that a first argument without a name is for: `verify RUN` is `verify --output_dir RUN`."""

LIST_FIELDS = {"compare": "captioners", "takedown": "folders"}
"""Fields that all first arguments without a name are for."""
JOB_FIELDS = frozenset(field.name for field in fields(RecaptionConfig))


def main() -> None:
    """Dispatch to a verb."""
    verb, argv = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if verb in ("-h", "--help"):
        print("usage: python -m recaption VERB [--help] ...\n")
        print("\n".join(f"  {name:11}{text}" for name, text in VERBS.items()))
        return
    if verb not in VERBS:
        raise UserError("unknown verb", where="python -m recaption", found=verb, wanted=f"one of {', '.join(VERBS)}")
    config = parse(CONFIGS[verb], spell_out(verb, argv), prog=f"python -m recaption {verb}", description=VERBS[verb])
    module, _, function = WORK[verb].rpartition(".")
    getattr(import_module(module), function)(config)


def spell_out(verb: str, argv: list[str]) -> list[str]:
    """Return a verb's arguments with the names and values that may be left out: `RUN` and `--json`."""
    if verb in RUN_FIELDS and argv and not argv[0].startswith("-"):
        argv = [f"--{RUN_FIELDS[verb]}", *argv]
    if verb in LIST_FIELDS:
        return _with_list(LIST_FIELDS[verb], argv)
    if verb == "plan":
        return [_of_job(word) for word in argv]
    if verb in ("status", "statistics", "audit", "coverage") and argv[-1:] == ["--json"]:
        argv = [*argv, "true"]
    return argv


def _with_list(field_name: str, argv: list[str]) -> list[str]:
    """Return arguments whose leading words without a flag are the values of a field."""
    count = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
    return [f"--{field_name}", json.dumps(argv[:count]), *argv[count:]] if count else argv


def _of_job(word: str) -> str:
    """Return a flag of a plan with the name that it has there: `--shards` is `--job.shards`."""
    name = word.removeprefix("--").partition("=")[0].partition(".")[0]
    return f"--job.{word[2:]}" if word.startswith("--") and name in JOB_FIELDS else word


if __name__ == "__main__":
    run_entry(main)
