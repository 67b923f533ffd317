"""Read JSON objects that another command wrote, with errors that name the file and the key."""

import json
from pathlib import Path
from typing import Any

from runtime.errors import UserError


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Return the JSON object in a file; raise UserError when it is missing, no object, or lacks one of `keys`."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError("file is missing", where=path, fix="Check the path, or write it again") from None
    return parse_object(data, path, *keys)


def parse_object(data: str | bytes, where: object, *keys: str) -> dict[str, Any]:
    """Return the JSON object in a text; raise UserError naming `where` when it is none or lacks one of `keys`."""
    fix = "The file is damaged: restore it, or remove it and run its writer again"
    try:
        found = json.loads(data)
    except ValueError as error:
        raise UserError("file is not JSON", where=where, found=str(error), fix=fix) from None
    if not isinstance(found, dict):
        raise UserError("file is no JSON object", where=where, found=type(found).__name__, fix=fix)
    for key in keys:
        if key not in found:
            raise UserError(f"file has no key {key!r}", where=where, found=sorted(found), fix=fix)
    return found
