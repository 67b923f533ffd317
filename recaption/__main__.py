"""`python -m recaption run|status|verify --output_dir SIDE ...`."""

import sys

from recaption.config import InspectConfig, RecaptionConfig
from runtime.config import parse
from runtime.entry import run_entry
from runtime.errors import UserError

VERBS = {
    "run": "Caption every row of the shards (or every file of a folder); continues where it stopped.",
    "status": "Say how far a job is.",
    "verify": "Check every sidecar of a job against its input.",
}


def main() -> None:
    """Dispatch to a verb."""
    verb, argv = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if verb in ("-h", "--help"):
        print("usage: python -m recaption VERB [--help] ...\n")
        print("\n".join(f"  {name:8}{text}" for name, text in VERBS.items()))
        return
    if verb not in VERBS:
        raise UserError("unknown verb", where="python -m recaption", found=verb, wanted=f"one of {', '.join(VERBS)}")
    prog = f"python -m recaption {verb}"
    if verb == "run":
        config = parse(RecaptionConfig, argv, prog=prog, description=VERBS[verb])
        from recaption import verbs

        verbs.run(config)
        return
    inspected = parse(InspectConfig, argv, prog=prog, description=VERBS[verb])
    from recaption import verbs

    (verbs.status if verb == "status" else verbs.verify)(inspected)


if __name__ == "__main__":
    run_entry(main)
