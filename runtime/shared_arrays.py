"""Arrays that processes share."""

from multiprocessing.context import SpawnContext
from typing import Any


def shared_array(context: SpawnContext, typecode: str, length: int) -> Any:
    """Return an array of zeros that processes started in the context map into themselves; pickled only on their way.

    Raises OSError that says what there was no room for: containers often give shared memory 64 MB.
    """
    try:
        return context.RawArray(typecode, length)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (no room for shared memory)", "/dev/shm") from error
