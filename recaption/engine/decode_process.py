"""What a decode process runs: encoded images in through a pipe, prepared pictures out, one at a time.

Answers travel as pickle protocol 5 with their arrays out of band: an array is written to the pipe from where it lies
and read into the memory that it stays in, without a copy in between.
"""

import os
import pickle
from multiprocessing.connection import Connection
from typing import Any

READY = b"ready"


def serve(pipe: Connection, parent: int) -> None:
    """Prepare pictures until the pipe is closed; the first message is the preparation itself, pickled."""
    # Before anything that starts threads is imported: pictures are spread over processes, not threads.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    from recaption.engine.preparation import prepare_picture
    from runtime.parent import end_with_parent

    end_with_parent(parent)
    try:
        prepare = pickle.loads(pipe.recv_bytes())
        pipe.send_bytes(READY)
        while True:
            send(pipe, prepare_picture(pipe.recv_bytes(), prepare))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def send(pipe: Connection, obj: Any) -> None:
    """Write an object to a pipe, its arrays out of band."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    pipe.send([view.nbytes for view in views])
    pipe.send_bytes(head)
    for view in views:
        pipe.send_bytes(view)


def receive(pipe: Connection) -> Any:
    """Read what `send` wrote; raises EOFError or OSError where the other side is gone."""
    sizes = pipe.recv()
    head = pipe.recv_bytes()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        pipe.recv_bytes_into(buffer)
    return pickle.loads(head, buffers=buffers)
