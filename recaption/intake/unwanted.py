"""Lists of pictures that are not wanted, by sha256 or URL."""

import re
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import UserError

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Unwanted:
    """What some files list, and which file lists it."""

    def __init__(self, lists: Sequence[Path]):
        """Read files of a sha256 or a URL a line; empty lines and those after `#` say nothing.

        Raises UserError for a file that is not there, and for a line that is neither.
        """
        self._by: dict[str, str] = {}
        for path in lists:
            for number, line in enumerate(_lines(path), start=1):
                text = line.strip()
                if text and not text.startswith("#"):
                    self._by.setdefault(_entry(text, path, number), path.name)

    def __len__(self) -> int:
        return len(self._by)

    def listed_in(self, sha256: str | None, url: str | None) -> str | None:
        """Return the name of the list that a picture is on; None where it is on none."""
        found = None if sha256 is None else self._by.get(sha256.lower())
        return found if found is not None or url is None else self._by.get(url)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("list can't be read", where=path, found=str(error), wanted="a text file") from None


def _entry(text: str, path: Path, number: int) -> str:
    if _SHA256.fullmatch(text):
        return text.lower()
    if "://" not in text:
        raise UserError("neither a sha256 nor a URL", where=f"{path}:{number}", found=text[:80])
    return text
