"""How captions are checked while they are made: what is asked again, what refuses a captioner, what stops a run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagetext.caption_flags.names import DEFECTS
from recaption.named_prompts import TEMPERATURE_MAX, resolve
from runtime.errors import UserError

StepName = Literal["unconditioned", "more_tokens", "sampled", "other_prompt"]


@dataclass(frozen=True, kw_only=True)
class RepairConfig:
    """Captions with defects are asked for again, step after step, until one is without; clean ones never are."""

    steps: list[StepName] = field(default_factory=lambda: ["unconditioned"])
    """Each at most once for a row, in this order, where it may help. unconditioned: without the row's own text, for a
    caption that gave it back. more_tokens: up to `max_new_tokens`, for one that was cut off. sampled: drawn at
    `temperature`. other_prompt: asked `prompt` instead. [] asks nothing again."""
    flags: list[str] = field(default_factory=lambda: list(DEFECTS))
    """Defects for which a caption is asked for again."""
    share_max: float = 0.25
    """Share of a unit's rows that are asked again at most, the first ones; where more are defective, asking again is no
    cure. Eight rows always are."""
    max_new_tokens: int = 256
    """Most tokens of a caption in the steps more_tokens and sampled, if more than the job's."""
    temperature: float = 0.7
    """Temperature of the step sampled, among the 50 likeliest tokens."""
    prompt: str = "@short"
    """What the step other_prompt asks, without the row's own text: a name or a text."""

    def __post_init__(self) -> None:
        if len(set(self.steps)) < len(self.steps):
            raise UserError("a step comes twice", where="repair.steps", found=self.steps, wanted="each at most once")
        unknown = [flag for flag in self.flags if flag not in DEFECTS]
        if unknown:
            raise UserError("no defect", where="repair.flags", found=unknown[0], wanted=f"some of {', '.join(DEFECTS)}")
        if not 0 <= self.share_max <= 1:
            raise UserError("out of range", where="repair.share_max", found=self.share_max, wanted="from 0 to 1")
        if self.max_new_tokens < 1:
            raise UserError("out of range", where="repair.max_new_tokens", found=self.max_new_tokens, wanted=">= 1")
        if not 0 < self.temperature <= TEMPERATURE_MAX:
            wanted = f"above 0, up to {TEMPERATURE_MAX}"
            raise UserError("out of range", where="repair.temperature", found=self.temperature, wanted=wanted)
        resolve(self.prompt, where="repair.prompt")


@dataclass(frozen=True, kw_only=True)
class CanaryConfig:
    """Before a worker begins, its captioner is asked about a few pictures, whole, scattered and blank."""

    pictures: int = 8
    """Pictures asked about, three times each; the first of the input, unless some are known. Where the first unit has
    fewer that differ, and with 0, nothing is asked."""
    known: Path | None = None
    """Folder of pictures with their captions beside them, NAME.txt: the captioner has to tell them apart."""

    def __post_init__(self) -> None:
        if self.pictures != 0 and self.pictures < 4:
            raise UserError("out of range", where="canary.pictures", found=self.pictures, wanted="0, or 4 or more")


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """Each unit is held against the run's first ones before it counts as finished."""

    stop: bool = True
    """Stop the run at a unit that leaves the band. False: tell of it, on stderr and in the unit's mark."""
    accept: list[str] = field(default_factory=list)
    """Units that may leave the band, since somebody looked at them."""
    reference: Path | None = None
    """Folder of a run whose calibration this run is held against from its first unit on; left out, the run's own first
    units are the calibration."""
    calibration_rows: int = 1000
    """Captions that make a calibration."""
    rows_min: int = 200
    """Captions of a unit from which its rates tell anything."""
    deviations: float = 4.0
    """Standard errors that a unit may be away from the calibration, beyond the tolerances."""
    share_tolerance: float = 0.05
    """By how much a unit's share of a flag, of repeated captions or of failed rows may differ whatever its size."""
    length_tolerance: float = 0.1
    """Share of the mean length by which a unit's may differ."""
    score_tolerance: float = 0.02
    """By how much a unit's mean CLIP score may be lower, where captions are scored."""

    def __post_init__(self) -> None:
        for name in ("calibration_rows", "rows_min"):
            if getattr(self, name) < 2:
                raise UserError("out of range", where=f"drift.{name}", found=getattr(self, name), wanted=">= 2")
        for name in ("deviations", "share_tolerance", "length_tolerance", "score_tolerance"):
            if getattr(self, name) < 0:
                raise UserError("out of range", where=f"drift.{name}", found=getattr(self, name), wanted=">= 0")


@dataclass(frozen=True, kw_only=True)
class ClipScoreConfig:
    """Cosines of each picture with its old and its new caption, in the same pass: org_clip_score, re_clip_score."""

    model: Path | None = None
    """open_clip directory that scores; left out, nothing is scored. Captions are cut off at its context's length."""
    batch_size: int = 64
    """Pictures, or captions, encoded together."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError("out of range", where="clip_score.batch_size", found=self.batch_size, wanted=">= 1")
