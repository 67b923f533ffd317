"""What `python -m recaption intake` and `takedown` are told."""

from dataclasses import dataclass, field
from pathlib import Path

from recaption.input_config import InputConfig, check_one_input
from runtime.errors import UserError

NEAR_BITS = 12
"""Of 256: pictures that were scaled or encoded again differ in less, see docs/recaption_knowing.md."""


@dataclass(frozen=True, kw_only=True)
class IntakeConfig(InputConfig):
    """Look through an input before it is captioned, for `run --intake`."""

    output_dir: Path
    """Folder for what is found."""
    perceptual: bool = True
    """Find pictures that look the same, too; every picture is decoded for it. Without it, sha256 alone, and shards'
    tars are not opened."""
    near_bits: int = NEAR_BITS
    """Most bits of 256 in which the outlines of two pictures of one look differ."""
    evaluation: list[str] = field(default_factory=list)
    """Folders of evaluation images, as files or as shards; pictures near one are listed and flagged."""
    blocklists: list[Path] = field(default_factory=list)
    """Files of a sha256 or a URL a line: rows of these are not captioned."""
    hooks: list[str] = field(default_factory=list)
    """Functions MODULE:NAME that are given each row (recaption.inputs.units.InputRow) and return flags for it, such as
    recaption.intake.hooks:personal_data."""
    workers: int = 1
    """Processes that look at pictures side by side; what is found does not depend on their number."""

    def __post_init__(self) -> None:
        check_one_input(vars(self))
        if not 0 <= self.near_bits <= 64:
            raise UserError("out of range", where="near_bits", found=self.near_bits, wanted="from 0 to 64")
        for name in ("images_per_unit", "workers"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=name, found=getattr(self, name), wanted=">= 1")
        if self.evaluation and not self.perceptual:
            fix = "Leave perceptual true, or evaluation out"
            raise UserError("near-duplicates need pictures", where="evaluation", found="perceptual false", fix=fix)


@dataclass(frozen=True, kw_only=True)
class TakedownConfig:
    """Take rows out of finished sidecars and exports."""

    folders: list[Path]
    """Runs, imports and exports; may stand first, without the flag."""
    lists: list[Path]
    """Files of a sha256 or a URL a line."""
    dry_run: bool = False
    """Count the rows that would be taken out, and leave them."""

    def __post_init__(self) -> None:
        for name in ("folders", "lists"):
            if not getattr(self, name):
                raise UserError("empty", where=name, found="[]", wanted="one or more")
