"""The bake-off as one HTML page, and as plain JSON types."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from imagetext.caption_flags.names import DEFECTS, FLAGS
from imagetext.decode import decode
from recaption.audit.page import CLAIMS_HEADERS, claims_row, kinds_rows
from recaption.audit.summary import AuditSummary
from recaption.comparison.contestants import Bout
from recaption.comparison.measuring import Standing, flags_of
from recaption.sampling import SampledRow
from recaption.statistics.page import cell
from runtime.html import Card, Page
from runtime.intervals import Interval, finite_or_null

_SHOWN_SIDE_PX = 320


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was found."""

    standings: Mapping[str, Standing]
    audited: Mapping[str, AuditSummary] = field(default_factory=dict)
    protocol: str = ""
    """How claims were audited."""
    cosines: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """By scorer and captioner."""


def as_json(bout: Bout, found: Findings) -> dict[str, Any]:
    """Return everything as plain JSON types."""
    settings = {each.name: {"place": str(each.place), "settings": each.settings} for each in bout.contestants}
    return finite_or_null({"num_images": len(bout.rows), "captioners": settings, **asdict(found)})


def build_page(bout: Bout, found: Findings, num_shown: int) -> Page:
    """Return the page."""
    names = list(found.standings)
    page = Page(
        "Captioners side by side",
        f"{len(bout.rows)} pictures, the same for all. Brackets hold 95 % intervals over pictures.",
    )
    page.section("Captioners")
    rows = [(each.name, str(each.place), each.settings) for each in bout.contestants]
    page.table(("captioner", "from", "settings"), rows, text_columns=(1, 2))
    page.section("Captions")
    page.table(("", *names), list(caption_rows(found)))
    page.paragraph(
        "Images a second: of the pictures drawn where captions were made for this page, else of the whole run they are "
        "from, on its own machine and workers; opening the captioner is left out. Repeated: another picture of those "
        "drawn has the same words."
    )
    page.section("Flags")
    page.table(("share of captions (%)", *names), list(flag_rows(found.standings)), caption="`*` makes a caption unfit")
    if found.audited:
        page.section("Claims")
        page.paragraph(f"Protocol: {found.protocol}. Pictures that all have a caption of.")
        page.table(CLAIMS_HEADERS, [claims_row(name, each) for name, each in found.audited.items()])
        kinds = kinds_rows(found.audited)
        page.table(("unsupported (%)", *found.audited), kinds, caption="by kind of claim")
    page.section("Pictures")
    shown = [row for row in bout.rows if any(each.said[row.name].text is not None for each in bout.contestants)]
    page.cards([_card(bout, shown[place]) for place in _places(len(shown), num_shown)])
    return page


def caption_rows(found: Findings) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of captions."""
    standings = list(found.standings.values())
    yield "captions", *(f"{sum(each.statuses.values()) - _num_failed(each)} of {each.num_rows}" for each in standings)
    yield "failed", *(_failures(each) for each in standings)
    yield "words", *(cell(each.words, digits=1) for each in standings)
    yield "tokens", *("not told" if each.tokens is None else cell(each.tokens, digits=1) for each in standings)
    yield "distinct words", *(str(each.num_distinct_words) for each in standings)
    yield "distinct 2-grams (%)", *(f"{100 * each.distinct_bigram_share:.1f}" for each in standings)
    yield "repeated (%)", *(cell(each.repeated, 100, 1) for each in standings)
    yield "unfit by a flag (%)", *(cell(each.unfit, 100, 1) for each in standings)
    for scorer, by_name in found.cosines.items():
        yield f"mean cosine, {scorer}", *(cell(by_name[name], digits=4) for name in found.standings)
    yield "images a second", *(_pace(each) for each in standings)


def flag_rows(standings: Mapping[str, Standing]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each flag that anyone's captions raise."""
    for flag in FLAGS:
        if any(flag in each.flag_shares for each in standings.values()):
            name = f"{flag}{'*' if flag in DEFECTS else ''}: {FLAGS[flag]}"
            yield name, *(_share(each.flag_shares.get(flag)) for each in standings.values())


def _share(share: Interval | None) -> str:
    return "0" if share is None else cell(share, 100, 1)


def _num_failed(each: Standing) -> int:
    return sum(count for status, count in each.statuses.items() if status != "success")


def _failures(each: Standing) -> str:
    told = [f"{status} {count}" for status, count in each.statuses.items() if status != "success"]
    return ", ".join(told) or "none"


def _pace(each: Standing) -> str:
    if each.images_per_second <= 0:
        return "not known"
    return f"{each.images_per_second:.2f} ({'here' if each.made_here else 'its own run'})"


def _places(num_rows: int, num_shown: int) -> Sequence[int]:
    count = min(num_rows, num_shown)
    return [place * num_rows // count for place in range(count)]


def _card(bout: Bout, row: SampledRow) -> Card:
    picture = decode(row.row.image or b"")
    picture.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX))
    texts = {"came with": row.row.caption or "nothing"}
    for each in bout.contestants:
        said = each.said[row.name]
        flags = ", ".join(flags_of(said))
        texts[each.name] = f"{said.text or f'({said.status})'}{f' [{flags}]' if flags else ''}"
    return Card(image=picture, texts=texts)
