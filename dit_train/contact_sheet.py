"""Many pictures on one sheet, each over its prompt."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 160
LINES = 3
_LINE_PX = 13
_GAP_PX = 8
_LINE_CHARACTERS = 26
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(pictures: Sequence[tuple[Image.Image, str]], *, num_columns: int = 6) -> Image.Image:
    """Lay pictures out row by row, resized to one side, the beginning of its prompt under each."""
    columns = min(num_columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = SIDE_PX + _GAP_PX, SIDE_PX + LINES * _LINE_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _GAP_PX), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for number, (picture, prompt) in enumerate(pictures):
        left, top = _GAP_PX + number % columns * width, _GAP_PX + number // columns * height
        sheet.paste(picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), (left, top))
        lines = textwrap.wrap(prompt, _LINE_CHARACTERS, max_lines=LINES, placeholder=" ...")
        for line_number, line in enumerate(lines):
            pen.text((left, top + SIDE_PX + 2 + line_number * _LINE_PX), line, fill=_INK, font=font)
    return sheet
