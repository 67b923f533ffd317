"""Dataclasses of arrays that are made once and kept in a file, which all processes and later starts read."""

import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from runtime.atomic import atomic_path
from runtime.errors import UserError
from runtime.launch import have_made_once

T = TypeVar("T")


def kept_arrays(place: Path, schema: type[T], make: Callable[[], T]) -> T:
    """Return the arrays at `place`, an `.npz` file; where it is not there, the main process makes it and others wait.

    `schema` is a dataclass whose fields are all arrays without Python objects. Raises UserError for a damaged file.
    """
    have_made_once(place, lambda: _write(make(), place))
    names = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    try:
        with np.load(place, allow_pickle=False) as arrays:
            return schema(**{name: arrays[name] for name in names})
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        fix = "Remove it: it will be made anew"
        raise UserError("kept arrays are damaged", where=place, found=str(error), fix=fix) from None


def _write(made: Any, place: Path) -> None:
    with atomic_path(place) as partial, partial.open("wb") as file:
        np.savez(file, **{field.name: getattr(made, field.name) for field in fields(made)})
