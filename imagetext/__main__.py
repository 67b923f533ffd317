"""Command line of the data layer: `python -m imagetext inspect | shuffle-sidecar | hq_edit | mix-shards`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagetext.mix import CaptionMixConfig
from imagetext.stream import DataConfig
from runtime.config import parse
from runtime.entry import run_entry
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Print what a folder of shards holds."""

    shards: str
    """Folder or fsspec URL of the shards."""
    sidecars: dict[str, str] = field(default_factory=dict)
    """Caption sources to count as well: name -> sidecar folder."""
    decode: bool = True
    """Whether to decode every image and count the ones that fail."""


@dataclass(frozen=True, kw_only=True)
class ShuffleConfig:
    """Permute a captioner's captions over the images."""

    sidecar: str
    """Sidecar folder to read."""
    output_dir: Path
    """Sidecar folder to write."""
    seed: int = 0
    """Seed of the permutation."""


@dataclass(frozen=True, kw_only=True)
class HqEditConfig:
    """Make conversations of HQ-Edit's edit pairs."""

    input: Path
    """Folder of HQ-Edit's published parquet files, or one of them."""
    output: Path
    """Folder to write: a captioner's data folder with `hq_edit.json` and the pictures in `images/`."""


@dataclass(frozen=True, kw_only=True)
class MixShardsConfig:
    """Write shards with mixed captions, for trainers that read nothing else."""

    data: DataConfig
    """Shards, and the sidecars that hold further captions."""
    output_dir: Path
    """Folder to write."""
    mix: CaptionMixConfig = field(default_factory=CaptionMixConfig)
    """Which of an image's captions is written, and how often."""
    seed: int = 0
    """Seed of the choice: clip_train's of the same seed is the same."""
    epoch: int = 0
    """Which epoch's choice."""


def inspect(argv: Sequence[str]) -> None:
    """Print counts of a folder of shards."""
    config = parse(InspectConfig, argv, prog="python -m imagetext inspect", description="Print what shards hold.")
    from imagetext.inspection import inspect_shards

    for line in inspect_shards(config.shards, config.sidecars, decode_images=config.decode):
        print(line)


def shuffle_sidecar(argv: Sequence[str]) -> None:
    """Write a sidecar whose captions belong to other images."""
    description = "Give every image another image's recaption."
    config = parse(ShuffleConfig, argv, prog="python -m imagetext shuffle-sidecar", description=description)
    from imagetext import derived_sidecars

    count = derived_sidecars.shuffle_sidecar(config.sidecar, config.output_dir, config.seed)
    print(f"{count} captions changed places: {config.output_dir}")


def hq_edit(argv: Sequence[str]) -> None:
    """Write LLaVA conversations, and the pictures that they are about, from HQ-Edit."""
    description = "Make LLaVA conversations of HQ-Edit's pictures and descriptions."
    config = parse(HqEditConfig, argv, prog="python -m imagetext hq_edit", description=description)
    from imagetext.hq_edit import CONVERSATIONS_FILE, convert
    from imagetext.shard_writer import SUCCESS

    statuses = convert(config.input, config.output)
    left_out = ", ".join(f"{status} {count}" for status, count in statuses.most_common() if status != SUCCESS)
    print(
        f"{statuses[SUCCESS]} pictures described, left out: {left_out or 'none'}: {config.output / CONVERSATIONS_FILE}"
    )


def mix_shards(argv: Sequence[str]) -> None:
    """Write shards whose text is the caption chosen for an epoch."""
    description = "Write shards with mixed captions: what clip_train would see in one epoch."
    config = parse(MixShardsConfig, argv, prog="python -m imagetext mix-shards", description=description)
    from imagetext.mixed_samples import write_mixed_shards

    count = write_mixed_shards(config.data, config.mix, config.output_dir, seed=config.seed, epoch=config.epoch)
    print(f"{count} samples with mixed captions: {config.output_dir}")


_VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "inspect": inspect,
    "shuffle-sidecar": shuffle_sidecar,
    "hq_edit": hq_edit,
    "mix-shards": mix_shards,
}


def main() -> None:
    """Run the verb named first on the command line."""
    usage = f"usage: python -m imagetext {{{','.join(_VERBS)}}} [--help] ..."
    verb = sys.argv[1] if len(sys.argv) > 1 else None
    if verb in (None, "-h", "--help"):
        print(usage)
    elif verb in _VERBS:
        _VERBS[verb](sys.argv[2:])
    else:
        raise UserError("unknown command", found=verb, wanted=f"one of {', '.join(_VERBS)}")


if __name__ == "__main__":
    run_entry(main)
