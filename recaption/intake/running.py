"""The verb `intake`: look at every row, decide, say what was found."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from recaption.inputs.opening import open_units
from recaption.inputs.units import Unit
from recaption.intake.config import IntakeConfig
from recaption.intake.deciding import Judgement, read_evaluation
from recaption.intake.looking import LOOKS, look_at_all, looks_of
from recaption.intake.unwanted import Unwanted
from recaption.intake.verdicts import VERDICTS, write_verdicts
from runtime.atomic import atomic_path, make_folder, remove_partials, write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress

SUMMARY = "intake.json"
EVALUATION_MATCHES = "evaluation_matches.parquet"


def intake(config: IntakeConfig) -> None:
    """Look through an input and print what was found; a stopped intake goes on.

    Raises UserError for an input, a list, a hook or an evaluation set that is not what it should be, and for a folder
    of another intake.
    """
    unwanted, units = Unwanted(config.blocklists), open_units(config)
    looks = make_folder(config.output_dir / LOOKS)
    _claim(config)
    remove_partials(looks)
    evaluation = read_evaluation(config.evaluation, config.near_bits)
    look_at_all(config, units, looks)
    judgement = Judgement(near_bits=config.near_bits, evaluation=evaluation, unwanted=unwanted)
    counts = _decide(config, units, looks, judgement)
    write_json(config.output_dir / SUMMARY, {"units": len(units), **counts})
    for name, count in counts.items():
        print(f"{name}: {count}")
    saved = counts["duplicates_by_sha256"] + counts["duplicates_by_look"] + counts["blocked"]
    print(f"{config.output_dir}: {100 * saved / max(1, counts['rows']):.1f} % of the rows need no caption of their own")


def _decide(config: IntakeConfig, units: Sequence[Unit], looks: Path, judgement: Judgement) -> Counter[str]:
    matches: list[dict[str, Any]] = []
    # Without it nobody takes the verdicts for finished while they are written anew.
    (config.output_dir / SUMMARY).unlink(missing_ok=True)
    with Progress(total=len(units), unit="units", label="decide") as progress:
        for unit in units:
            verdicts = [judgement.decide(unit.name, row) for row in looks_of(unit, looks)]
            write_verdicts(config.output_dir, unit.name, verdicts)
            near = [one for one in verdicts if one.evaluation_image is not None]
            names = [{"unit": unit.name, "key": one.key, "evaluation_image": one.evaluation_image} for one in near]
            matches += [{**name, "bits": one.evaluation_bits} for name, one in zip(names, near, strict=True)]
            progress.advance(1)
    _write_matches(config.output_dir / EVALUATION_MATCHES, matches)
    return judgement.counts


def _write_matches(place: Path, matches: Sequence[dict[str, Any]]) -> None:
    texts = [(name, pyarrow.string()) for name in ("unit", "key", "evaluation_image")]
    schema = pyarrow.schema([*texts, ("bits", pyarrow.int64())])
    with atomic_path(place) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(matches), schema=schema), partial)


def _claim(config: IntakeConfig) -> None:
    """Refuse a folder whose looks were taken otherwise."""
    path = config.output_dir / LOOKS / "plan.json"
    plan = {
        "perceptual": config.perceptual,
        "hooks": list(config.hooks),
        "images_per_unit": config.images_per_unit,
    }
    if path.exists() and read_object(path) != plan:
        found, fix = read_object(path), "Choose another output_dir, or delete the folder."
        raise UserError("this folder holds another intake", where=config.output_dir, found=found, wanted=plan, fix=fix)
    if not path.exists() and (config.output_dir / VERDICTS).exists():
        raise UserError("folder holds verdicts of another origin", where=config.output_dir, fix="Choose another.")
    write_json(path, plan)
