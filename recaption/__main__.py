"""`python -m recaption run --output_dir RUN ...`, then `status RUN` and `verify RUN`."""

import sys

from recaption.config import RecaptionConfig, StatusConfig, VerifyConfig
from runtime.config import parse
from runtime.entry import run_entry
from runtime.errors import UserError

VERBS = {
    "run": "Caption every row of the shards (or every file of a folder); continues where it stopped.",
    "status": "Say how far a job is, how fast it goes, what failed and why. RUN: the job's folder.",
    "verify": "Check every sidecar of a job against its input. RUN: the job's folder.",
}
CONFIGS = {"run": RecaptionConfig, "status": StatusConfig, "verify": VerifyConfig}


def main() -> None:
    """Dispatch to a verb."""
    verb, argv = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if verb in ("-h", "--help"):
        print("usage: python -m recaption VERB [--help] ...\n")
        print("\n".join(f"  {name:8}{text}" for name, text in VERBS.items()))
        return
    if verb not in VERBS:
        raise UserError("unknown verb", where="python -m recaption", found=verb, wanted=f"one of {', '.join(VERBS)}")
    config = parse(CONFIGS[verb], _named(argv), prog=f"python -m recaption {verb}", description=VERBS[verb])
    from recaption import verbs

    getattr(verbs, verb)(config)


def _named(argv: list[str]) -> list[str]:
    """Read a first argument without a name as the job's folder: `verify RUN` is `verify --output_dir RUN`."""
    return ["--output_dir", *argv] if argv and not argv[0].startswith("-") else argv


if __name__ == "__main__":
    run_entry(main)
