"""What a watched worker process runs, and what it says to its supervisor."""

import faulthandler
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from recaption.config import RecaptionConfig
from recaption.engine.answering import OpenCaptioner
from recaption.engine.black_box import BlackBox
from recaption.engine.worker import caption_stream
from recaption.inputs.units import Unit
from runtime.atomic import make_folder
from runtime.errors import UserError
from runtime.parent import end_with_parent

DUMP_SIGNAL = signal.SIGUSR1
"""Has a worker write the stacks of all its threads into its log; works while it hangs in a library."""


@dataclass(frozen=True)
class Give:
    """A worker has room for another unit."""


@dataclass(frozen=True)
class Died:
    """A worker ends with an error that its supervisor is to judge."""

    error: Exception
    traceback: str | None
    """Where it came from; None for an error that says all in its own words."""


def work(
    config: RecaptionConfig,
    index: int,
    pipe: Connection,
    box: BlackBox,
    log: Path,
    parent: int,
    open_captioner: OpenCaptioner | None,
) -> None:
    """Caption units that come through the pipe until there are no more."""
    # In a group of its own, so that all it starts can be ended with it.
    os.setpgid(0, 0)
    end_with_parent(parent)
    sending = threading.Lock()
    try:
        # Kept until the end: the file is closed with its last name.
        stacks = _dump_stacks_into(log)
        units = _units(pipe, sending)
        for report in caption_stream(config, units, open_captioner=open_captioner, box=box, index=index):
            with sending:
                pipe.send(report)
        stacks.flush()
    except Exception as error:  # noqa: BLE001 - raised again by the supervisor
        with sending:
            pipe.send(_sendable(error))
        raise SystemExit(1) from None


def _dump_stacks_into(log: Path) -> TextIO:
    make_folder(log.parent)
    file = log.open("a")
    faulthandler.enable(file)
    faulthandler.register(DUMP_SIGNAL, file=file, all_threads=True, chain=False)
    return file


def _units(pipe: Connection, sending: threading.Lock) -> Iterator[Unit]:
    while True:
        with sending:
            pipe.send(Give())
        unit = pipe.recv()
        if unit is None:
            return
        yield unit


def _sendable(error: Exception) -> Died:
    """Return what can be sent of an error; one that can't be pickled is sent by its words."""
    told = isinstance(error, (UserError, OSError))
    text = None if told else traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - classes of other libraries fail to pickle in every way
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Died(error, text)
