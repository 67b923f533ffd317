"""What each captioner's captions come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagetext.caption_flags.finding import defects_among, find_flags, in_order
from imagetext.caption_flags.names import FLAGS
from imagetext.statistics import distinct_ngram_share, num_words, split_words
from imagetext.words import words_of
from recaption.audit.captions import AuditItem
from recaption.comparison.contestants import Bout, Contestant, Said
from recaption.inputs.units import SUCCESS
from recaption.sampling import SampledRow
from runtime.errors import UserError
from runtime.intervals import Interval, mean_interval, share_interval

SCENE_COLUMN = "scene"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One captioner's captions, counted."""

    num_rows: int
    statuses: Mapping[str, int]
    words: Interval
    """Words a caption."""
    tokens: Interval | None
    """Tokens a caption, by its own tokenizer; None where it was not told."""
    num_distinct_words: int
    distinct_bigram_share: float
    repeated: Interval
    """Share of captions that another picture has word for word, too."""
    unfit: Interval
    """Share of captions with a defect."""
    flag_shares: Mapping[str, Interval]
    """Share of captions that raise each flag that any does."""
    images_per_second: float
    made_here: bool


def stand(bout: Bout) -> dict[str, Standing]:
    """Return where each captioner stands; raises UserError for one without two captions."""
    return {each.name: _standing(each, bout.rows) for each in bout.contestants}


def items_to_audit(bout: Bout) -> list[AuditItem]:
    """Return everyone's captions of the pictures that all have a caption of."""
    shared = [row for row in bout.rows if all(each.said[row.name].text is not None for each in bout.contestants)]
    return [_item(row, each) for row in shared for each in bout.contestants]


def flags_of(said: Said) -> tuple[str, ...]:
    """Return what a caption raises: what its sidecar says, and what its words do, whoever made it."""
    if said.text is None:
        return ()
    return tuple(in_order({*said.flags, *find_flags(said.text, finish_reason=said.finish_reason)}))


def _standing(contestant: Contestant, rows: Sequence[SampledRow]) -> Standing:
    said = {row.name: contestant.said[row.name] for row in rows}
    captions = {name: each for name, each in said.items() if each.text is not None}
    if len(captions) < 2:
        found = f"{len(captions)} of {len(rows)} pictures"
        raise UserError("too few captions", where=contestant.name, found=found, wanted="2 or more")
    texts = [each.text or "" for each in captions.values()]
    flags = [flags_of(each) for each in captions.values()]
    tokens = [float(each.num_tokens) for each in captions.values() if each.num_tokens is not None]
    raised = Counter(flag for each in flags for flag in each)
    return Standing(
        num_rows=len(rows),
        statuses=dict(Counter(each.status if each.text is not None else _failed(each) for each in said.values())),
        words=mean_interval(np.array([float(num_words(text)) for text in texts])),
        tokens=mean_interval(np.array(tokens)) if len(tokens) > 1 else None,
        num_distinct_words=len({word for text in texts for word in words_of(text)}),
        distinct_bigram_share=distinct_ngram_share(texts, 2),
        repeated=share_interval(_num_repeated(captions, rows), len(captions)),
        unfit=share_interval(sum(bool(defects_among(each)) for each in flags), len(flags)),
        flag_shares={name: share_interval(raised[name], len(flags)) for name in FLAGS if raised[name]},
        images_per_second=contestant.totals.rows_per_second,
        made_here=contestant.made_here,
    )


def _failed(said: Said) -> str:
    return "empty caption" if said.status == SUCCESS else said.status


def _num_repeated(captions: Mapping[str, Said], rows: Sequence[SampledRow]) -> int:
    """Count captions that another picture has, too; rows of one and the same picture may share theirs."""
    pictures = {row.name: row.row.sha256 or row.name for row in rows}
    plain = {name: " ".join(split_words(said.text or "")) for name, said in captions.items()}
    of_text: dict[str, set[str]] = {}
    for name, text in plain.items():
        of_text.setdefault(text, set()).add(pictures[name])
    return sum(len(of_text[text]) > 1 for text in plain.values())


def _item(row: SampledRow, contestant: Contestant) -> AuditItem:
    scene = row.row.columns.get(SCENE_COLUMN)
    return AuditItem(
        row=row.name,
        source=contestant.name,
        text=contestant.said[row.name].text or "",
        image=row.row.image or b"",
        scene=None if scene is None else str(scene),
    )
