"""`openrecap`: reproduce, status, plan and doctor, and every stage by its name."""

import argparse
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from runtime.entry import run_entry
from runtime.errors import UserError

_STAGE_MODULES = {
    "miniweb": "miniweb",
    "llava": "llava_train",
    "recaption": "recaption",
    "clip": "clip_train",
    "dit": "dit_train",
    "eval": "eval",
}


def main() -> None:
    """Hand the command line to a stage, or to one of the runner's own verbs."""
    if len(sys.argv) > 1 and sys.argv[1] in _STAGE_MODULES:
        module = _STAGE_MODULES[sys.argv[1]]
        sys.argv = [f"openrecap {sys.argv[1]}", *sys.argv[2:]]
        runpy.run_module(module, run_name="__main__", alter_sys=False)
        return
    run_entry(_own_verbs)


def _own_verbs() -> None:
    arguments = _parser().parse_args()
    verb: Callable[[argparse.Namespace], None] = arguments.verb
    verb(arguments)


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line as every stage does: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, where=self.prog, fix="Run with --help to see what is accepted.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="openrecap", description=__doc__, allow_abbrev=False)
    stages = ", ".join(_STAGE_MODULES)
    verbs = parser.add_subparsers(required=True, metavar="VERB", help=f"or a stage with its own options: {stages}")
    reproduce = verbs.add_parser("reproduce", help="run every experiment of a preset", allow_abbrev=False)
    reproduce.add_argument("--until", metavar="STAGE", help="stop after this stage, with all that it needs")
    reproduce.add_argument(
        "--redo_stale", action="store_true", help="remove folders made from other inputs and redo them"
    )
    reproduce.set_defaults(verb=_reproduce)
    status = verbs.add_parser("status", help="what is done and what is left", allow_abbrev=False)
    status.set_defaults(verb=_status)
    plan = verbs.add_parser("plan", help="what a preset will run and cost, before it runs", allow_abbrev=False)
    plan.set_defaults(verb=_plan)
    for verb in (reproduce, status, plan):
        verb.add_argument("--preset", default="mini", help="a file of configs/experiments (default: mini)")
        verb.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go (default: runs)")
    doctor = verbs.add_parser("doctor", help="can this machine run it?", allow_abbrev=False)
    doctor.set_defaults(verb=_doctor)
    return parser


def _reproduce(arguments: argparse.Namespace) -> None:
    from openrecap import reproduce

    if not reproduce.reproduce(
        arguments.preset, arguments.runs, until=arguments.until, redo_stale=arguments.redo_stale
    ):
        sys.exit(1)


def _status(arguments: argparse.Namespace) -> None:
    from openrecap import reproduce

    reproduce.print_status(arguments.preset, arguments.runs)


def _plan(arguments: argparse.Namespace) -> None:
    from openrecap import reproduce

    reproduce.print_plan(arguments.preset, arguments.runs)


def _doctor(arguments: argparse.Namespace) -> None:
    from openrecap import doctor

    findings = doctor.examine(Path("constraints.txt"))
    for is_well, finding in findings:
        print(f"{'ok ' if is_well else 'OFF'} {finding}")
    if not all(is_well for is_well, _ in findings):
        sys.exit(1)


if __name__ == "__main__":
    main()
