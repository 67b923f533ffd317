"""Reading files on the local disk or, by URL, anywhere fsspec reaches.

A location with "://" is an fsspec URL ("s3://bucket/shards", "simplecache::https://..."); all else is a local path.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from runtime.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHUNK_BYTES = 1 << 20


def is_url(location: str | Path) -> bool:
    """Tell whether a location is read through fsspec."""
    return "://" in str(location)


def join(folder: str | Path, name: str) -> str:
    """Return the location of `name` inside `folder`."""
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def name_of(location: str | Path) -> str:
    """Return the last part of a location."""
    return PurePosixPath(str(location).rstrip("/")).name


def open_binary(location: str | Path) -> BinaryIO:
    """Open a seekable binary stream for reading; raise UserError for a file that is not there."""
    try:
        if not is_url(location):
            return Path(location).open("rb")
        system, path = _resolve(location)
        return cast(BinaryIO, system.open(path, "rb"))
    except FileNotFoundError:
        raise UserError("file is missing", where=location, fix="Check the path, or write it again") from None


def read_bytes(location: str | Path) -> bytes:
    """Return the content of a file."""
    with open_binary(location) as file:
        return file.read()


def sha256(location: str | Path) -> str:
    """Return the digest of a file's bytes, in hexadecimal; the file is never held whole."""
    digest = hashlib.sha256()
    with open_binary(location) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def exists(location: str | Path) -> bool:
    """Tell whether a file is there."""
    if not is_url(location):
        return Path(location).exists()
    system, path = _resolve(location)
    return bool(system.exists(path))


def list_names(folder: str | Path) -> list[str]:
    """Return the sorted names in a folder, unfinished files left out; raise UserError when there is no such folder."""
    try:
        if is_url(folder):
            system, path = _resolve(folder)
            names = [name_of(str(entry)) for entry in system.ls(path, detail=False)]
        else:
            names = [entry.name for entry in Path(folder).iterdir()]
    except FileNotFoundError:
        raise UserError("folder is missing", where=folder, fix="Check the path") from None
    except NotADirectoryError:
        raise UserError("no folder", where=folder, found="a file", wanted="a folder", fix="Check the path") from None
    return sorted(name for name in names if ".partial" not in name)


def _resolve(url: str | Path) -> "tuple[AbstractFileSystem, str]":
    """Return the file system of a URL and the path on it; raise UserError where there is no way to it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(str(url))
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or str(error)
        raise UserError(
            "URL needs a package that is not installed", where=url, found=f"no {package}", fix=f"Install {package}"
        ) from None
    except ValueError as error:
        fix = "Check the part before ://"
        raise UserError(
            "URL can't be opened", where=url, found=str(error), wanted="a protocol of fsspec", fix=fix
        ) from None
    return system, path
