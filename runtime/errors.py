"""Failures that end a command in one clear line."""

from collections.abc import Sequence
from typing import Any

_UNSET: Any = object()


class UserError(ValueError):
    """Report a mistake that the person who started the command can put right.

    `str(error)` is one line: "WHERE: WHAT: found X, wanted Y. FIX". It survives pickling, so worker processes may
    raise it.
    """

    def __init__(
        self, what: str, *, where: object = None, found: object = _UNSET, wanted: object = None, fix: str | None = None
    ):
        self.what = what
        self.where = None if where is None else str(where)
        self.found = None if found is _UNSET else found
        self.wanted = wanted
        self.fix = fix
        super().__init__(_one_line(what, self.where, found, wanted, fix))


class NonFiniteError(RuntimeError):
    """Refuse an update whose loss or gradient is not finite, or whose loss is above the limit.

    The message names the step and some of the samples; `keys` are all of them.
    """

    def __init__(
        self,
        message: str,
        *,
        loss: float = float("nan"),
        grad_norm: float | None = None,
        keys: Sequence[str] = (),
    ):
        self.loss, self.grad_norm, self.keys = loss, grad_norm, tuple(keys)
        super().__init__(message)


def _one_line(what: str, where: str | None, found: object, wanted: object, fix: str | None) -> str:
    comparison = []
    if found is not _UNSET:
        comparison.append(f"found {found if isinstance(found, str) and found else repr(found)}")
    if wanted is not None:
        comparison.append(f"wanted {wanted}")
    message = what if where is None else f"{where}: {what}"
    if comparison:
        message = f"{message}: {', '.join(comparison)}"
    if fix is not None:
        message = f"{message.rstrip('.')}. {fix}"
    return " ".join(message.split())
