"""What the columns of somebody's table mean: the picture, the key, the original caption, and what identifies it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recaption.inputs.own_columns import own_types
from runtime.errors import UserError

if TYPE_CHECKING:
    import pyarrow

IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "img", "picture", "image_bytes", "bytes", "content")
"""Names of a column that holds encoded pictures, or places of such, in order of preference."""
PLACE_COLUMNS = ("image_path", "path", "file_name", "filename", "filepath", "image_url", "url", "link")
"""Names of a column that holds paths or URLs of pictures, when none holds pictures."""
CAPTION_COLUMNS = ("caption", "text", "alt_text", "alt", "org_caption", "txt", "description")
KEY_COLUMNS = ("key", "id", "__key__", "image_id")
_IDENTITY = ("uid", "url", "sha256")


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig:
    """Say what the columns of a table mean; null finds them by their names."""

    image: str | None = None
    """Column of the picture: encoded bytes, a struct of bytes and path as of Hugging Face, or a path or URL."""
    caption: str | None = None
    """Column of the original caption."""
    key: str | None = None
    """Column of the key; one whose values are not each there once in the file is passed over for `<file>/<row>`."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of one table by what they mean."""

    image: str
    caption: str | None
    keys: tuple[str, ...]
    """Columns that may be the key, by preference."""
    identity: tuple[str, ...]
    """Those of uid, url and sha256 that are there."""
    own: "dict[str, pyarrow.DataType]"
    """The users' own columns and their types."""


def find_columns(schema: "pyarrow.Schema", config: ColumnsConfig, where: str) -> TableColumns:
    """Return what a table's columns mean.

    Raises UserError for a named column that does not exist, and when none is known to hold pictures.
    """
    names = schema.names
    for field, name in (("image", config.image), ("caption", config.caption), ("key", config.key)):
        if name is not None and name not in names:
            wanted = f"one of {', '.join(names)}"
            raise UserError("table has no such column", where=f"{where}: columns.{field}", found=name, wanted=wanted)
    image = config.image or _first(names, IMAGE_COLUMNS) or _first(names, PLACE_COLUMNS)
    if image is None:
        fix = "Name it with --columns.image"
        raise UserError("no column is known to hold pictures", where=where, found=", ".join(names), fix=fix)
    caption = config.caption or _first(names, CAPTION_COLUMNS)
    keys = tuple(name for name in ((config.key,) if config.key else KEY_COLUMNS) if name in names)
    identity = tuple(name for name in _IDENTITY if name in names and _is_text(schema.field(name).type))
    taken = {image, caption or image, *identity}
    return TableColumns(image, caption, keys, identity, own_types(schema, taken))


def _first(names: list[str], known: tuple[str, ...]) -> str | None:
    return next((name for name in known if name in names), None)


def _is_text(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))
