"""Tell one file of published weights from another, without reading all of a large one at every start."""

import hashlib
from pathlib import Path

from imagetext import files

WHOLE_BYTES = 2**28
"""Files up to 256 MiB are read whole, a fraction of a second's work; an 8B's have about 5 GB each."""
HEAD_BYTES = 2**20
"""Read of the beginning of a larger one: safetensors' list of names, types, shapes and places, and more."""
NUM_BLOCKS = 256
BLOCK_BYTES = 2**14
"""Besides, so many blocks of this size, spread evenly, the last one at the file's end."""


def weight_fingerprint(file: Path) -> str:
    """Return what identifies a file of weights: the SHA-256 of all its bytes or, where it is large, of a sample.

    The sample's is marked "sampled-" and covers the file's size, its beginning, and `NUM_BLOCKS` blocks. It differs
    for other names, types and shapes, for a copy cut short, and wherever `1 / (NUM_BLOCKS - 1)` of the file in one run
    is of other bytes: so for any model trained further or otherwise. A change of less may pass unnoticed.
    """
    num_bytes = file.stat().st_size
    if num_bytes <= WHOLE_BYTES:
        return files.sha256(file)
    digest = hashlib.sha256(str(num_bytes).encode())
    with file.open("rb") as opened:
        digest.update(opened.read(HEAD_BYTES))
        for index in range(NUM_BLOCKS):
            opened.seek((num_bytes - BLOCK_BYTES) * index // (NUM_BLOCKS - 1))
            digest.update(opened.read(BLOCK_BYTES))
    return f"sampled-{digest.hexdigest()}"
