"""Randomness is derived from what it is for, never carried along as state.

Every draw names its purpose: `uniform(seed, "mix", epoch, key)`. Two draws with the same parts are the same draw on
any machine, in any process and at any point of a resumed run, so there is nothing to save and nothing to restore.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch

_SEED_BITS = 63
_FLOAT_BITS = 53


def derive(*parts: int | str) -> int:
    """Return a 63-bit integer that depends on every part, on its type and on the order of the parts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = f"{'i' if isinstance(part, int) else 's'}{part}".encode()
        digest.update(len(text).to_bytes(4, "little"))
        digest.update(text)
    return int.from_bytes(digest.digest(), "little") >> (64 - _SEED_BITS)


def uniform(*parts: int | str) -> float:
    """Return a number in [0, 1), uniform over the parts."""
    return (derive(*parts) >> (_SEED_BITS - _FLOAT_BITS)) / (1 << _FLOAT_BITS)


def torch_generator(*parts: int | str, device: str = "cpu") -> "torch.Generator":
    """Return a fresh torch generator seeded from the parts."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(*parts))


def numpy_generator(*parts: int | str) -> "numpy.random.Generator":
    """Return a fresh numpy generator seeded from the parts."""
    import numpy

    return numpy.random.Generator(numpy.random.PCG64(derive(*parts)))
