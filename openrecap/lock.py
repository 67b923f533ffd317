"""One runner per preset at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.atomic import make_folder
from runtime.errors import UserError
from runtime.patience import takes_lock


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; raise `UserError` when another living process holds it.

    The kernel drops the lock with its owner, so a killed runner leaves nothing to clean up; one that is still dying is
    waited for.
    """
    make_folder(path.parent)
    with path.open("a+") as file:
        if not takes_lock(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)):
            file.seek(0)
            raise UserError(
                "another run of this preset is at work",
                where=path,
                found=f"process {file.read().strip()}",
                wanted="none",
            )
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
