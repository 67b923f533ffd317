"""Score the captions of drawn rows with open_clip directories."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clip_train.model import ClipEncoder, load_encoder
from imagetext.decode import decode
from recaption.sampling import SampledRow
from recaption.statistics.pair_scores import PairScores, score_pairs
from runtime.device import pick_device
from runtime.device_name import DeviceName

OLD_COLUMN = "org_caption"


def score_rows(
    rows: Sequence[SampledRow], column: str, scorers: Mapping[str, Path], *, batch_size: int, device: DeviceName
) -> dict[str, PairScores]:
    """Return each model's scores of the rows' old captions and of those in a column."""
    where = pick_device(device)
    return {name: _score(rows, column, load_encoder(place, where), batch_size) for name, place in scorers.items()}


def cosines(
    rows: Sequence[SampledRow], columns: Sequence[str], encoder: ClipEncoder, batch_size: int
) -> dict[str, Float[np.ndarray, " rows"]]:
    """Return the cosines of the rows' pictures and their captions, by column; few pictures are decoded at a time."""
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        pictures = encoder.encode_images([decode(row.row.image or b"") for row in some], batch_size).double()
        for column in columns:
            texts = encoder.encode_texts([str(row.sidecar[column]) for row in some], batch_size).double()
            parts[column].append((pictures * texts).sum(dim=1).numpy())
    return {column: np.concatenate(found) for column, found in parts.items()}


def _score(rows: Sequence[SampledRow], column: str, encoder: ClipEncoder, batch_size: int) -> PairScores:
    found = cosines(rows, (OLD_COLUMN, column), encoder, batch_size)
    old_cut, new_cut = (_truncated_share(rows, name, encoder) for name in (OLD_COLUMN, column))
    return score_pairs(
        found[OLD_COLUMN],
        found[column],
        encoder.logit_scale,
        old_truncated_share=old_cut,
        new_truncated_share=new_cut,
    )


def _truncated_share(rows: Sequence[SampledRow], column: str, encoder: ClipEncoder) -> float:
    return float(encoder.truncated([str(row.sidecar[column]) for row in rows]).float().mean())
