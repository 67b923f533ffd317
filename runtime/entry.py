"""The way into every command: expected failures become one line and an exit code."""

import sys
from collections.abc import Callable

from runtime.errors import NonFiniteError, UserError

EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def run_entry(main: Callable[[], None]) -> None:
    """Run a command's `main` and leave the process with the right exit code.

    A user's mistake ends in one line on stderr and exit code 2; a failure of the machine or of the training (disk
    full, connection lost, out of memory, non-finite loss) in one line with its reason and exit code 1. Anything else
    is a defect of ours and keeps its traceback.
    """
    try:
        main()
    except UserError as error:
        _leave(f"error: {error}", EXIT_USER_ERROR)
    except (OSError, NonFiniteError, MemoryError) as error:
        _leave(f"failed: {type(error).__name__}: {' '.join(str(error).split())}", EXIT_FAILED)
    except KeyboardInterrupt:
        _leave("interrupted: run the same command again to continue", EXIT_INTERRUPTED)


def _leave(line: str, code: int) -> None:
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)
