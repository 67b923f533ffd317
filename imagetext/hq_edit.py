"""HQ-Edit as training data of a captioner: each picture of its edit pairs with the description that it comes with.

HQ-Edit (arXiv 2404.09990) publishes parquet files of the columns `input_image`, `input` (its description), `edit`,
`inverse_edit`, `output_image` and `output`: pairs of pictures before and after an edit, not conversations. The paper
tunes its captioner on its image-text pairs without saying how; here both pictures of a pair are described, as an answer
to the paper's own captioning prompt.

The pictures go into shards in img2dataset's layout, `images/NNNNN.tar`, finished one by one; `hq_edit.json` comes last.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imagetext import parquet
from imagetext.conversation_files import IMAGE_TOKEN, Conversation, Turn, write_conversations
from imagetext.conversations import PAPER_PROMPT
from imagetext.shard_writer import MAX_ROWS_PER_SHARD, SUCCESS
from imagetext.shards import AttemptedRow, Shard, ShardRow, list_shards, make_key, read_attempted, write_shard
from runtime.atomic import make_folder, remove_partials, write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress

CONVERSATIONS_FILE = "hq_edit.json"
IMAGE_FOLDER = "images"
SOURCE_FILE = "source.json"
"""What was converted, so that a conversion is never continued on other files."""
_SIDES = {"input": "input_image", "output": "output_image"}
"""Each description's column, and the picture's that it describes."""
_COLUMNS = [column for side in _SIDES.items() for column in side]
_PAIRS_PER_SHARD = MAX_ROWS_PER_SHARD // len(_SIDES)
_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff"}


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Rows of one parquet file that become one shard."""

    file: Path
    start: int
    stop: int


def convert(source: Path, output: Path) -> Counter[str]:
    """Write the conversations of HQ-Edit's parquet files and their pictures; return how many pictures came out how.

    Started again after a kill, it continues with the first shard that is not finished. A picture that is missing or no
    picture, or has no description to learn, becomes a row of its shard's parquet and no conversation.

    Raises:
        UserError: for files that lack a column, and for an output folder of another conversion.
    """
    files = _parquet_files(source)
    pieces = [piece for file in files for piece in _pieces(file)]
    _claim(output, {_name(file, source): file.stat().st_size for file in files})
    images = make_folder(output / IMAGE_FOLDER)
    # A killed conversion leaves a shard's worth of bytes that nothing else would ever remove.
    remove_partials(images)
    with Progress(total=len(pieces), unit="shards", label="HQ-Edit") as progress:
        for number, piece in enumerate(pieces):
            if not (images / f"{number:05d}_stats.json").exists():
                write_shard(images, number, _rows(piece, number))
            progress.advance()
            progress.show({})
    attempted = [(shard, row) for shard in list_shards(images) for row in read_attempted(shard)]
    described = [(shard, row) for shard, row in attempted if row.status == SUCCESS]
    if not described:
        raise UserError("no picture has a description", where=source, found=dict(_statuses(attempted)))
    write_conversations(output / CONVERSATIONS_FILE, (_conversation(shard, row) for shard, row in described))
    return _statuses(attempted)


def _parquet_files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
    if not files:
        found = "no .parquet files" if source.exists() else "no such folder"
        raise UserError("nothing to convert", where=source, found=found, wanted="the published files of HQ-Edit")
    return files


def _name(file: Path, source: Path) -> str:
    return file.name if file == source else str(file.relative_to(source))


def _pieces(file: Path) -> Iterator[_Piece]:
    num_rows = parquet.num_rows(file, _COLUMNS)
    for start in range(0, num_rows, _PAIRS_PER_SHARD):
        yield _Piece(file=file, start=start, stop=min(start + _PAIRS_PER_SHARD, num_rows))


def _claim(output: Path, files: Mapping[str, int]) -> None:
    """Note what a folder is converted from, or refuse one that began with something else."""
    place = output / SOURCE_FILE
    if not place.exists():
        write_json(place, {"files": files})
    elif (found := read_object(place, "files")["files"]) != files:
        fix = "Choose another output folder"
        raise UserError("converted from other files", where=output, found=list(found), wanted=list(files), fix=fix)


def _rows(piece: _Piece, shard_index: int) -> Iterator[ShardRow]:
    rows = parquet.iterate_rows(piece.file, _COLUMNS, piece.start, piece.stop)
    for place, row in enumerate(rows):
        for number, (side, column) in enumerate(_SIDES.items()):
            yield _shard_row(
                make_key(shard_index, place * len(_SIDES) + number),
                _encoded(row[column]),
                str(row[side] or "").strip(),
                {"file": piece.file.name, "row": piece.start + place, "side": side},
            )


def _shard_row(key: str, image: bytes | None, description: str, metadata: dict[str, object]) -> ShardRow:
    extension = None if image is None else _extension(image)
    if image is None:
        status = "no_image"
    elif extension is None:
        status = "not_an_image"
    elif not description or IMAGE_TOKEN in description:
        status = "unusable_description"
    else:
        return ShardRow(key=key, image=image, extension=extension, caption=description, metadata=metadata)
    return ShardRow(key=key, image=None, caption=description, metadata=metadata, status=status)


def _encoded(value: object) -> bytes | None:
    """Return a picture's bytes: of a column of Hugging Face's `Image`, or of plain bytes."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return data if isinstance(data, bytes) and data else None


def _extension(image: bytes) -> str | None:
    """Return the extension of a picture's format, by its header alone: training decodes it and counts what it can't."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return _EXTENSIONS.get(str(opened.format))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _conversation(shard: Shard, row: AttemptedRow) -> Conversation:
    turns = (Turn("user", f"{IMAGE_TOKEN}\n{PAPER_PROMPT}"), Turn("assistant", str(row.caption)))
    return Conversation(id=row.key, image=f"{shard.name}.tar/{row.key}", turns=turns)


def _statuses(attempted: Sequence[tuple[Shard, AttemptedRow]]) -> Counter[str]:
    return Counter(row.status for _, row in attempted)
