"""Files and folders that are whole or absent.

Everything is written beside its place under a name "<name>.partial-<host>-<pid>", synced, and renamed. Readers never
read "*.partial*".
"""

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import UserError


def make_folder(path: Path) -> Path:
    """Create a folder, and those above it, unless it is there; raise UserError naming a file that is in its place."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next(place for place in (path, *path.parents) if place.exists() and not place.is_dir())
        fix = "Choose another output folder"
        raise UserError("no room for a folder", where=taken, found="a file", wanted="a folder", fix=fix) from None
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well, remove it when it fails."""
    path = Path(path)
    make_folder(path.parent)
    partial = _partial_name(path)
    try:
        yield partial
        _sync_file(partial)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        _raise_disk_error(error, path)
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; move it into place when the block ends well, remove it when it fails.

    An older folder of the same name is moved away first and deleted last.
    """
    path = Path(path)
    make_folder(path.parent)
    partial = _partial_name(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                _sync_file(file)
        _replace_directory(partial, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        _raise_disk_error(error, path)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, obj: object) -> None:
    """Write an indented JSON file whole or not at all."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False) + "\n")


def is_partial(path: Path) -> bool:
    """Tell whether a name belongs to an unfinished file or folder."""
    return ".partial" in Path(path).name


def remove_partials(folder: Path) -> None:
    """Delete what killed processes left unfinished in a folder that only this process writes to."""
    for path in folder.glob("*.partial*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_partials_of(folder: Path, process_id: int) -> None:
    """Delete what one process of this machine, dead by now, left unfinished in a folder that others write to."""
    for path in folder.glob(f"*.partial-{platform.node()}-{process_id}"):
        path.unlink(missing_ok=True)


def _raise_disk_error(error: BaseException, path: Path) -> None:
    """Raise the OSError, with its file, that stands behind a writer's failure; return when there is none.

    The system's own error does not say which file it was, libraries in Rust (safetensors, tokenizers) give its number
    in the text of an exception of theirs, and torch says only where its archive stopped.
    """
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        raise OSError(error.errno, error.strerror, str(path)) from error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is not None:
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    if isinstance(error, RuntimeError) and "inline_container" in str(error):
        raise OSError(f"{path}: the disk took only part of it; is it full?") from error


def _partial_name(path: Path) -> Path:
    # Processes of two containers often have the same number.
    return path.with_name(f"{path.name}.partial-{platform.node()}-{os.getpid()}")


def _replace_directory(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.replace(path)
        return
    old = path.with_name(f"{path.name}.partial-old-{platform.node()}-{os.getpid()}")
    path.replace(old)
    partial.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # Some file systems refuse to sync a folder; the rename itself is atomic all the same.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
