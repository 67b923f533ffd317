"""One data set: shards in a folder, captions beside them, and what a name in front of its keys tells apart."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from imagetext import files
from imagetext.caption_scores import read_scores
from imagetext.samples import ORIGINAL, CaptionScores, Sample
from imagetext.shards import Shard, ShardReader
from imagetext.sidecars import RECAPTION_COLUMN, SidecarRow, caption_of, read_sidecar
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ShardSetConfig:
    """Say where a data set's samples and captions come from."""

    shards: str | Path
    """Folder or fsspec URL of shards in img2dataset's layout."""
    dataset: str | None = None
    """Name that qualifies the keys; the folder's own name if null."""
    sidecars: dict[str, str | Path] = field(default_factory=dict)
    """Caption sources beside the images: source -> sidecar folder. One called "original" replaces the shards' text."""
    sidecar_columns: dict[str, str] = field(default_factory=dict)
    """Column to read of a source's sidecar; re_caption where not given."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.sidecar_columns) - set(self.sidecars)):
            raise UserError(
                "sidecar_columns names no sidecar", found=unknown[0], wanted=f"one of {list(self.sidecars)}"
            )

    @property
    def dataset_name(self) -> str:
        """Return the name that qualifies the keys."""
        return self.dataset or files.name_of(self.shards)

    @property
    def caption_sources(self) -> tuple[str, ...]:
        """Return the caption sources that a mix can draw on."""
        return (ORIGINAL, *(source for source in self.sidecars if source != ORIGINAL))


class OpenShard:
    """A shard's tar and its sidecars' captions."""

    def __init__(self, shard: Shard, shard_set: ShardSetConfig, scored_source: str | None = None):
        """`scored_source` names the sidecar whose scores samples bring along.

        Raises UserError for a sidecar that was written for other shards, or has no scores.
        """
        self._reader = ShardReader(shard, shard_set.dataset_name)
        self._sidecars: list[tuple[str, str | Path, dict[str, SidecarRow]]] = []
        self._scores: dict[str, CaptionScores] = {}
        for source, folder in shard_set.sidecars.items():
            column = shard_set.sidecar_columns.get(source, RECAPTION_COLUMN)
            rows = read_sidecar(folder, shard.name, column)
            if rows.keys().isdisjoint(self._reader.keys):
                raise UserError(
                    f"sidecar of shard {shard.name} has no row for any of its samples",
                    where=folder,
                    fix=f"Correct data.sidecars.{source}: this one was written for other shards",
                )
            self._sidecars.append((source, folder, rows))
            if source == scored_source:
                self._scores = read_scores(folder, shard.name)

    def __len__(self) -> int:
        return len(self._reader)

    def close(self) -> None:
        """Close the tar."""
        self._reader.close()

    def sample(self, row_index: int, *, with_image: bool = True) -> Sample:
        """Return a sample with all its captions, and with its image or an empty one."""
        sample = self._reader.sample(row_index, with_image=with_image)
        if not self._sidecars:
            return sample
        captions = dict(sample.captions)
        for source, folder, rows in self._sidecars:
            captions.pop(source, None)
            caption = caption_of(rows, sample, folder)
            if caption is not None:
                captions[source] = caption
        return replace(sample, captions=captions, scores=self._scores.get(sample.key))


def check_shard_set(shard_set: ShardSetConfig, shards: list[Shard]) -> None:
    """Refuse a data set of whose shards some have no finished sidecar."""
    for source, folder in shard_set.sidecars.items():
        names = set(files.list_names(folder))
        for shard in shards:
            if f"{shard.name}.parquet" not in names or f"{shard.name}_stats.json" not in names:
                raise UserError(
                    f"sidecar of shard {shard.name} is missing or unfinished",
                    where=folder,
                    wanted=f"{shard.name}.parquet and {shard.name}_stats.json",
                    fix=f"Caption the shard, or correct data.sidecars.{source}",
                )
