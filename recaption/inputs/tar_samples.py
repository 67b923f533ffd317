"""One sample of a tar, its files read when they are asked for, and none of them trusted."""

import json
from dataclasses import dataclass
from typing import BinaryIO

from imagetext.shards import IMAGE_EXTENSIONS
from imagetext.tar_index import TarMember, read_part


@dataclass(frozen=True)
class TarSample:
    """The files that a tar holds under one key."""

    file: BinaryIO
    """The tar, open."""
    where: str
    """Its path or URL."""
    member: TarMember

    @property
    def extensions(self) -> str:
        """Return the extensions of its files, as a text."""
        return ", ".join(sorted(self.member.parts))

    def image(self) -> bytes | None:
        """Return the encoded picture, None where there is none."""
        return next((self._read(name) for name in IMAGE_EXTENSIONS if name in self.member.parts), None)

    def caption(self) -> str | None:
        """Return the original caption; bytes that are no UTF-8 become U+FFFD."""
        text = self._read("txt")
        return None if text is None else text.decode("utf-8", errors="replace")

    def metadata(self) -> dict[str, object]:
        """Return what its JSON says: nothing where that is missing or damaged, which costs no picture its caption."""
        try:
            found = json.loads((self._read("json") or b"{}").decode("utf-8", errors="replace"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _read(self, extension: str) -> bytes | None:
        span = self.member.parts.get(extension)
        return None if span is None else read_part(self.file, span, self.where)
