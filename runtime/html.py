"""One self-contained HTML page: styles, pictures and charts inside, nothing fetched."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.atomic import write_text
from runtime.page_style import SERIES_STYLE, STYLE

if TYPE_CHECKING:
    from PIL.Image import Image

ImageSource = Any
"""Encoded bytes (JPEG, PNG, WebP, GIF), a path to such a file, or a PIL image (stored as PNG)."""

_SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp", b"GI": "gif"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """A picture with labelled texts beside it."""

    image: ImageSource
    """What it shows."""
    texts: Mapping[str, str]
    """Label -> text, in order."""


class Page:
    """Build a page from top to bottom; text is escaped, `html` takes finished markup."""

    def __init__(self, title: str, subtitle: str = ""):
        self._title, self._subtitle = title, subtitle
        self._sections: list[tuple[str, str]] = []
        self._body: list[str] = []

    def section(self, title: str) -> None:
        """Begin a section; the page's navigation links to it."""
        anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        taken = {name for name, _ in self._sections}
        anchor = anchor if anchor not in taken else f"{anchor}-{len(taken)}"
        self._sections.append((anchor, title))
        self.html(f'<h2 id="{anchor}">{escape(title)}</h2>')

    def subsection(self, title: str) -> None:
        """Begin a part of a section."""
        self.html(f"<h3>{escape(title)}</h3>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph; `code` in backticks is set as code."""
        self.html(f"<p>{_inline(text)}</p>")

    def facts(self, facts: Mapping[str, object]) -> None:
        """Add a row of big numbers: label -> value."""
        boxes = (f"<div><strong>{escape(str(v))}</strong><span>{escape(k)}</span></div>" for k, v in facts.items())
        self.html(f'<div class="facts">{"".join(boxes)}</div>')

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        caption: str = "",
        text_columns: Sequence[int] = (),
        strong_rows: Sequence[int] = (),
    ) -> None:
        """Add a table; numbers align right, `text_columns` left (the first always), `strong_rows` are set bold."""
        self.html(_table(headers, rows, caption, text_columns, strong_rows))

    def image(self, image: ImageSource, *, caption: str = "", width_px: int | None = None) -> None:
        """Add one picture."""
        width = f' style="width:{width_px}px;max-width:100%"' if width_px else ' style="max-width:100%"'
        self.figure(f'<img src="{data_uri(image)}" alt="{escape(caption)}"{width}>', caption=caption)

    def figure(self, markup: str, *, caption: str = "") -> None:
        """Add a figure of finished markup, such as a chart from `runtime.charts`."""
        self.html(_figure(markup, caption))

    def charts(self, charts: Sequence[tuple[str, str]]) -> None:
        """Add (chart, caption) pairs side by side where the screen is wide enough."""
        self.html(f'<div class="charts">{"".join(_figure(markup, caption) for markup, caption in charts)}</div>')

    def cards(self, cards: Sequence[Card]) -> None:
        """Add pictures with texts as a grid of cards."""
        self.html(f'<div class="cards">{"".join(_card(card) for card in cards)}</div>')

    def figure_grid(
        self, column_names: Sequence[str], rows: Sequence[tuple[str, Sequence[ImageSource]]], *, caption: str = ""
    ) -> None:
        """Add a grid of pictures: one row per text, one column per name."""
        head = "".join(f"<th>{escape(name)}</th>" for name in ("", *column_names))
        body = "".join(
            f"<tr><td>{escape(text)}</td>{''.join(f'<td>{_img(image, text)}</td>' for image in images)}</tr>"
            for text, images in rows
        )
        table = f'<div class="scroll"><table class="grid-images"><thead><tr>{head}</tr></thead>{body}</table></div>'
        self.figure(table, caption=caption)

    def details(self, summary: str, markup: str) -> None:
        """Add finished markup that unfolds on a click."""
        self.html(f"<details><summary>{escape(summary)}</summary>{markup}</details>")

    def html(self, markup: str) -> None:
        """Add finished markup."""
        self._body.append(markup)

    def render(self) -> str:
        """Return the whole page."""
        links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in self._sections)
        navigation = f"<nav>{links}</nav>" if len(self._sections) > 1 else ""
        subtitle = f'<p class="subtitle">{_inline(self._subtitle)}</p>' if self._subtitle else ""
        body = "\n".join(self._body)
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(self._title)}</title>
<style>{STYLE}{SERIES_STYLE}</style>
</head>
<body><main>
<header><h1>{escape(self._title)}</h1>{subtitle}{navigation}</header>
{body}
</main></body>
</html>
"""

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        write_text(path, self.render())


def data_uri(image: ImageSource) -> str:
    """Return a picture as a data URI; raises ValueError for bytes that are no JPEG, PNG, WebP or GIF."""
    data = _encoded(image)
    kind = _SIGNATURES.get(data[:2])
    if kind is None:
        raise ValueError(f"not a JPEG, PNG, WebP or GIF: begins with {data[:8]!r}")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: ImageSource) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        return Path(image).read_bytes()
    return _png(image)


def _png(image: "Image") -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _img(image: ImageSource, text: str) -> str:
    return f'<img loading="lazy" src="{data_uri(image)}" alt="{escape(text)}">'


def _figure(markup: str, caption: str) -> str:
    return f"<figure>{markup}{f'<figcaption>{_inline(caption)}</figcaption>' if caption else ''}</figure>"


def _card(card: Card) -> str:
    texts = "".join(f"<b>{escape(label)}</b>{escape(text)}" for label, text in card.texts.items())
    return f'<div class="card">{_img(card.image, next(iter(card.texts.values()), ""))}<div>{texts}</div></div>'


def _table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str,
    text_columns: Sequence[int],
    strong_rows: Sequence[int],
) -> str:
    def cells(tag: str, row: Sequence[object]) -> str:
        marks = (' class="text"' if index in text_columns else "" for index in range(len(row)))
        return "".join(f"<{tag}{mark}>{_inline(str(cell))}</{tag}>" for mark, cell in zip(marks, row))

    body = "".join(
        f"<tr{' class=strong' if index in strong_rows else ''}>{cells('td', row)}</tr>"
        for index, row in enumerate(rows)
    )
    table = f"<table><thead><tr>{cells('th', headers)}</tr></thead><tbody>{body}</tbody></table>"
    return _figure(f'<div class="scroll">{table}</div>', caption)
