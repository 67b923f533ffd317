"""Reading files on the local disk or, by URL, anywhere fsspec reaches.

A location with "://" is an fsspec URL ("s3://bucket/shards", "simplecache::https://..."); all else is a local path.
"""

import hashlib
import io
import os
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from runtime.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHUNK_BYTES = 1 << 20
_COPY_PAUSES_SECONDS = (1.0, 4.0)
"""Waits before a file that could not be fetched whole is fetched again."""


def is_url(location: str | Path) -> bool:
    """Tell whether a location is read through fsspec."""
    return "://" in str(location)


def join(folder: str | Path, name: str) -> str:
    """Return the location of `name` inside `folder`."""
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def name_of(location: str | Path) -> str:
    """Return the last part of a location."""
    return PurePosixPath(str(location).rstrip("/")).name


def open_binary(location: str | Path) -> BinaryIO | io.BytesIO:
    """Open a seekable binary stream for reading; raise UserError for a file that is not there."""
    try:
        if not is_url(location):
            return Path(location).open("rb")
        system, path = _resolve(location)
        return cast(BinaryIO, system.open(path, "rb"))
    except FileNotFoundError:
        raise _missing(location) from None


def open_local(location: str | Path) -> BinaryIO:
    """Open a seekable binary stream on a local disk: of a URL, an unnamed copy that vanishes when it is closed.

    Raises:
        UserError: for a file that is not there.
        OSError: when it can't be fetched whole, even when it is tried again.
    """
    if not is_url(location):
        return open_binary(location)
    system, path = _resolve(location)
    if "file" in _protocols(system):
        return open_binary(path)
    for pause in (*_COPY_PAUSES_SECONDS, None):
        try:
            return _copied(system, path, location)
        except FileNotFoundError:
            raise _missing(location) from None
        except OSError:
            if pause is None:
                raise
        except Exception as error:
            # File systems raise what their servers' clients raise.
            if pause is None:
                raise ConnectionError(f"{location}: {type(error).__name__}: {error}") from error
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


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
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
    except FileNotFoundError:
        raise UserError("folder is missing", where=folder, fix="Check the path") from None
    except NotADirectoryError:
        raise UserError("no folder", where=folder, found="a file", wanted="a folder", fix="Check the path") from None
    return sorted(name for name in names if ".partial" not in name)


def list_tree(folder: str | Path) -> list[str]:
    """Return the sorted paths of all files below a folder, relative to it, unfinished and hidden ones left out.

    Raises UserError when there is no such folder.
    """
    if is_url(folder):
        system, root = _resolve(folder)
        found = [str(path) for path in system.find(root)]
        start = len(str(system._strip_protocol(root)).rstrip("/")) + 1
        paths = [path[start:] for path in found]
    else:
        list_names(folder)
        paths = [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]
    parts = {path: PurePosixPath(path).parts for path in paths}
    return sorted(path for path in paths if not any(p.startswith(".") or ".partial" in p for p in parts[path]))


def size_bytes(location: str | Path) -> int:
    """Return the size of a file; raise UserError for one that is not there."""
    try:
        if not is_url(location):
            return Path(location).stat().st_size
        system, path = _resolve(location)
        return int(system.size(path))
    except FileNotFoundError:
        raise _missing(location) from None


def _copied(system: "AbstractFileSystem", path: str, location: str | Path) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller, who closes it
    try:
        with system.open(path, "rb", cache_type="readahead") as source:
            while chunk := source.read(_CHUNK_BYTES):
                copy.write(chunk)
        wanted = system.size(path)
        # A connection that is cut looks like the end of the file.
        if wanted is not None and copy.tell() != wanted:
            raise OSError(f"{location}: {copy.tell()} of {wanted} bytes came")
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return cast(BinaryIO, copy)


def _protocols(system: "AbstractFileSystem") -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _missing(location: str | Path) -> UserError:
    return UserError("file is missing", where=location, fix="Check the path, or write it again")


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
