"""How captions are checked while they are made: what is asked again, what refuses a captioner, what stops a run."""

from dataclasses import dataclass, field
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
