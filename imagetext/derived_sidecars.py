"""Sidecars made from other sidecars, to take a finding apart."""

from collections.abc import Mapping
from pathlib import Path

from imagetext import files
from imagetext.sidecars import RECAPTION_COLUMN, is_complete, read_sidecar_table, sidecar_fingerprint, write_sidecar
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.seeds import numpy_generator

_CAPTION_COLUMNS = (RECAPTION_COLUMN, "re_length", "finish_reason", "num_tokens", "mean_logprob", "flags")
_PROVENANCE = "provenance"


def shuffle_sidecar(source: str | Path, target: Path, seed: int) -> int:
    """Give every image the recaption of another, over all shards; return how many captions changed places.

    Only captions move: keys, digests and originals stay, failed rows stay failed. Scores are left null, since they
    were of other pairs. Finished shards are kept, so that a stopped run goes on.

    Raises:
        UserError: when the source holds no sidecar, or the target was shuffled from another source or seed or holds
            sidecars that were not shuffled, such as the source's own.
    """
    names = sidecar_names(source)
    tables = {name: read_sidecar_table(source, name).to_pylist() for name in names}
    _claim(target, {"source": {name: sidecar_fingerprint(source, name) for name in names}, "seed": seed})
    places = [(name, i) for name in names for i, row in enumerate(tables[name]) if row[RECAPTION_COLUMN] is not None]
    givers = _cyclic_permutation(len(places), seed)
    moved: dict[tuple[str, int], Mapping[str, object]] = {}
    for place, giver in zip(places, givers, strict=True):
        name, index = places[giver]
        moved[place] = tables[name][index]
    for name in names:
        if not is_complete(target, name):
            write_sidecar(
                target, name, [_with_caption(row, moved.get((name, i))) for i, row in enumerate(tables[name])]
            )
    return len(places)


def sidecar_names(folder: str | Path) -> list[str]:
    """Return the shards whose captions a sidecar folder holds; raise UserError when there are none."""
    names = [name.removesuffix(".parquet") for name in files.list_names(folder) if name.endswith(".parquet")]
    if not names:
        raise UserError("folder holds no sidecars", where=folder, wanted="NNNNN.parquet with NNNNN_stats.json")
    return names


def _cyclic_permutation(size: int, seed: int) -> list[int]:
    # One cycle through all in random order: nobody keeps his own, which a plain permutation would allow.
    order = numpy_generator(seed, "shuffle_sidecar").permutation(size).tolist()
    givers = [0] * size
    for here, there in zip(order, [*order[1:], *order[:1]], strict=True):
        givers[here] = there
    return givers


def _with_caption(row: Mapping[str, object], giver: Mapping[str, object] | None) -> dict[str, object]:
    if giver is None:
        return dict(row)
    return {**row, **{column: giver[column] for column in _CAPTION_COLUMNS}, "re_clip_score": None}


def _claim(target: Path, facts: dict[str, object]) -> None:
    # Kept in a folder of its own: readers of sidecars take every .json beside them for a completion mark.
    path = target / _PROVENANCE / "shuffle.json"
    fix = "Choose another output folder"
    if path.exists():
        if read_object(path) != facts:
            raise UserError("folder holds captions shuffled from another source or seed", where=target, fix=fix)
    elif marks := sorted(mark.name for mark in target.glob("*_stats.json")):
        raise UserError("folder holds sidecars that were not shuffled", where=target, found=marks[0], fix=fix)
    write_json(path, facts)
