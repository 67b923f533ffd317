"""Raw cosines of pictures and everyone's captions, by open_clip directories."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clip_train.model import load_encoder
from recaption.comparison.contestants import Bout
from recaption.statistics.scoring import cosines
from runtime.device import pick_device
from runtime.device_name import DeviceName
from runtime.intervals import Interval, mean_interval

_BATCH_SIZE = 64


def score(bout: Bout, scorers: Mapping[str, Path], device: DeviceName) -> dict[str, dict[str, Interval]]:
    """Return mean cosines by scorer and captioner, over the pictures that all have a caption of."""
    names = [each.name for each in bout.contestants]
    shared = [row for row in bout.rows if all(each.said[row.name].text is not None for each in bout.contestants)]
    rows = [replace(row, sidecar={each.name: each.said[row.name].text for each in bout.contestants}) for row in shared]
    found: dict[str, dict[str, Interval]] = {}
    for scorer, place in scorers.items():
        by_name = cosines(rows, names, load_encoder(place, pick_device(device)), _BATCH_SIZE)
        found[scorer] = {name: mean_interval(values) for name, values in by_name.items()}
    return found
