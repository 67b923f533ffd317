"""The way into every command: expected failures become one line and an exit code."""

import re
import sys
from collections.abc import Callable

from runtime.errors import NonFiniteError, UserError
from runtime.stop_signal import EXIT_TERMINATED, TerminatedError

EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

# By name and text, since entries do not import torch: its error on a GPU is a RuntimeError of its own, its errors on a
# CPU are plain ones.
_OUT_OF_MEMORY_CLASSES = ("MemoryError", "OutOfMemoryError")
_OUT_OF_MEMORY_TEXTS = re.compile(
    r"DefaultCPUAllocator: can't allocate memory"
    r"|DataLoader worker .*(is killed by signal: (Killed|Bus error)|exited unexpectedly)"
)


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
    except (OSError, NonFiniteError) as error:
        _leave(_failure(error), EXIT_FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _leave(f"{_failure(error)} (lower loop.microbatch_size or batch_size)", EXIT_FAILED)
    except TerminatedError:
        _leave("terminated: run the same command again to continue", EXIT_TERMINATED)
    except KeyboardInterrupt:
        _leave("interrupted: run the same command again to continue", EXIT_INTERRUPTED)


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ in _OUT_OF_MEMORY_CLASSES or bool(_OUT_OF_MEMORY_TEXTS.search(str(error)))


def _failure(error: Exception) -> str:
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())}"


def _leave(line: str, code: int) -> None:
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)
