"""Finished jobs without a captioner: shards, a manifest, sidecars and marks, all through the writers that runs use."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from imagetext.shards import write_shard
from recaption.captioners.identity import identify_prompt
from recaption.config import RecaptionConfig
from recaption.inputs.opening import open_units
from recaption.inputs.units import SUCCESS, Unit
from recaption.job.folder import open_job
from recaption.job.marks import finish_unit
from tests.recaption.conftest import jpeg, row

ROWS_PER_SHARD = 5


def write_shards(folder: Path, count: int) -> Path:
    """Write shards of four pictures and one failed download."""
    failed = {"status": "failed_to_download", "error_message": "HTTP 404"}
    for index in range(count):
        rows = [row(index, place, jpeg(place)) for place in range(ROWS_PER_SHARD - 1)]
        write_shard(folder, index, [*rows, row(index, ROWS_PER_SHARD - 1, None, **failed)])
    return folder


def config_of(root: Path, **fields: object) -> RecaptionConfig:
    """Return a job on the shards below `root`, with a model directory of which only its files' digests are asked."""
    model = root / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text('{"model_type": "llava"}')
    # As our own publishing leaves it, so that nothing else of the model is looked at.
    (model / "rendering.json").write_text("{}")
    defaults = {"output_dir": root / "side", "shards": str(root / "shards"), "model": model, "device": "cpu"}
    return RecaptionConfig(**{**defaults, **fields})  # type: ignore[arg-type]


def sidecar_rows(unit: Unit, captioner_id: str, prompt_id: str) -> list[dict[str, object]]:
    """Return what a captioner that names the keys would write."""
    return [
        {
            "key": asked.key,
            "re_caption": f"a picture of {asked.key}" if asked.status == SUCCESS else None,
            "status": asked.status,
            "error_message": asked.error_message,
            "captioner_id": captioner_id,
            "prompt_id": prompt_id,
        }
        for asked in unit.rows()
    ]


def caption(config: RecaptionConfig, units: Sequence[Unit]) -> Iterator[Unit]:
    """Write the sidecars of some units of an opened job."""
    from recaption.job.manifest import read_manifest

    manifest = read_manifest(config.output_dir)
    for unit in units:
        rows = sidecar_rows(unit, manifest.captioner_id, identify_prompt(config.prompt))
        finish_unit(
            config.output_dir,
            unit,
            rows,
            manifest_sha256=manifest.sha256,
            wall_seconds=2.0,
            stage_seconds={"captioning": 1.5},
        )
        yield unit


def run(config: RecaptionConfig) -> list[str]:
    """Run a job, or a part of one; return the names of the units that were captioned."""
    job = open_job(config)
    try:
        names = [unit.name for unit in caption(config, job.pending)]
        job.finish()
    finally:
        job.lock.close()
    return names


def finished_job(root: Path, num_shards: int = 3) -> RecaptionConfig:
    """Write shards and a finished job on them."""
    write_shards(root / "shards", num_shards)
    config = config_of(root)
    assert len(run(config)) == num_shards == len(open_units(config))
    return config
