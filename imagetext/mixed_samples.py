"""Mixed captions for trainers that are not ours: a stage for webdataset pipelines, and shards with the captions in."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from imagetext import files
from imagetext.caption_scores import read_scores
from imagetext.mix import CaptionMix, CaptionMixConfig, check_sources
from imagetext.mix_check import check_mix
from imagetext.mix_config import missing_source
from imagetext.samples import ORIGINAL, CaptionScores, Sample
from imagetext.shard_writer import ShardRow
from imagetext.shards import write_shard
from imagetext.sidecars import RECAPTION_COLUMN, SidecarRow, caption_of, read_sidecar
from imagetext.stream import DataConfig, SampleStream
from runtime.errors import UserError

_OPEN_SHARDS = 4
"""Sidecars that are kept in memory; a worker reads its shards one after another."""
_EXTENSIONS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))


class MixCaptions:
    """Put each sample's chosen caption in place of its `txt`: a stage between a pipeline's tar reader and its decoder.

    Samples are webdataset's dictionaries, whose shards lie in one folder. What is chosen is a function of seed, epoch
    and key alone. Epochs are counted by the stage's starts in its process, from `first_epoch`; give `epoch` where the
    trainer knows better.
    """

    def __init__(
        self,
        sidecars: Mapping[str, str | Path],
        mix: CaptionMixConfig,
        *,
        seed: int = 0,
        dataset: str | None = None,
        first_epoch: int = 0,
        epoch: Callable[[], int] | None = None,
    ):
        """`sidecars` are caption sources by name; `dataset` qualifies keys, the shards' folder's name if None.

        Raises UserError for a mix over positions, which a pipeline does not know, or of sources that are not there.
        """
        if mix.share_changes:
            fix = "Mix with one share, or train with clip_train"
            raise UserError("a pipeline knows no positions", where="share_changes", found=mix.share_changes, fix=fix)
        refuse_together(mix, "a pipeline's sample has one caption")
        check_sources(mix, (ORIGINAL, *sidecars))
        self._sidecars, self._mix, self._dataset = dict(sidecars), CaptionMix(mix, seed), dataset
        self._next_epoch, self._epoch = first_epoch, epoch
        self._scored_source = mix.scored_source
        if self._scored_source is not None and self._scored_source not in sidecars:
            raise missing_source(self._scored_source, sidecars, "sidecars")
        self._rows: OrderedDict[str, dict[str, dict[str, SidecarRow]]] = OrderedDict()
        self._scores: dict[str, dict[str, CaptionScores]] = {}

    def __call__(self, samples: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the samples with their captions chosen."""
        epoch = self._next_epoch if self._epoch is None else self._epoch()
        self._next_epoch += 1
        for sample in samples:
            yield {**sample, "txt": self._choose(sample, epoch).encode()}

    def _choose(self, sample: Mapping[str, Any], epoch: int) -> str:
        url, key = str(sample["__url__"]), PurePosixPath(str(sample["__key__"])).name
        dataset = self._dataset or PurePosixPath(url).parent.name
        found = Sample(key=key, dataset=dataset, shard=PurePosixPath(url).stem, image=b"", captions={})
        captions = {}
        if "txt" in sample:
            text = sample["txt"]
            captions[ORIGINAL] = text if isinstance(text, str) else text.decode("utf-8", errors="replace")
        for source, rows in self._rows_of(found.shard).items():
            captions.pop(source, None)
            caption = caption_of(rows, found, self._sidecars[source])
            if caption is not None:
                captions[source] = caption
        scores = self._scores.get(found.shard, {}).get(key)
        return self._mix.choose(captions, found.qualified_key, epoch, position=0, scores=scores).text

    def _rows_of(self, shard: str) -> dict[str, dict[str, SidecarRow]]:
        if shard not in self._rows:
            self._rows[shard] = {
                source: read_sidecar(folder, shard, RECAPTION_COLUMN) for source, folder in self._sidecars.items()
            }
            if self._scored_source is not None:
                self._scores[shard] = read_scores(self._sidecars[self._scored_source], shard)
            if len(self._rows) > _OPEN_SHARDS:
                oldest, _ = self._rows.popitem(last=False)
                self._scores.pop(oldest, None)
        return self._rows[shard]


def refuse_together(mix: CaptionMixConfig, reason: str) -> None:
    """Refuse a mix that shows several captions of an image in one step, where there is room for one."""
    if mix.also:
        raise UserError(reason, where="mix.also", found=mix.also, wanted="none", fix="Train with clip_train")


def write_mixed_shards(data: DataConfig, mix: CaptionMixConfig, output_dir: Path, *, seed: int, epoch: int) -> int:
    """Write shards whose `txt` is the caption that each sample has in an epoch; return the number of samples.

    They hold what our own loader serves in that epoch, in the order on disk, so that another trainer sees the same
    pairs. Each shard is whole or absent, and finished ones are left alone. Raises UserError for an output folder that
    is the input's.
    """
    if output_dir.resolve() in {Path(one.shards).resolve() for one in data.shard_sets}:
        raise UserError(
            "would overwrite its own input", where="output_dir", found=str(output_dir), wanted="another folder"
        )
    refuse_together(mix, "a shard's sample has one caption")
    check_mix(mix, data)
    stream = SampleStream(data, seed, scored_source=mix.scored_source)
    chosen, count = CaptionMix(mix, seed), 0
    for index, (shard, size) in enumerate(stream.shards):
        # Shards of several data sets have the same names.
        number = int(shard.name) if shard.name.isdigit() and not data.further else index
        if not files.exists(files.join(output_dir, f"{number:05d}_stats.json")):
            output_dir.mkdir(parents=True, exist_ok=True)
            write_shard(output_dir, number, _mixed_rows(stream, chosen, index, epoch))
        count += size
    return count


def _mixed_rows(stream: SampleStream, mix: CaptionMix, shard_index: int, epoch: int) -> Iterator[ShardRow]:
    for sample in stream.shard_samples(shard_index):
        # A share that changes with positions is the one at the epoch's beginning.
        choice = mix.choose(sample.captions, sample.qualified_key, epoch, epoch * stream.num_samples, sample.scores)
        extension = next((name for start, name in _EXTENSIONS if sample.image.startswith(start)), "jpg")
        metadata = {**sample.metadata, "caption_source": choice.source}
        yield ShardRow(key=sample.key, image=sample.image, extension=extension, caption=choice.text, metadata=metadata)
