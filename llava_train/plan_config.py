"""What a plan reckons with: the machine, and what the samples of each phase are like."""

from dataclasses import dataclass, field

from runtime.errors import UserError
from runtime.hardware import AcceleratorName


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """An average sample of a phase, and the longest."""

    text_tokens: float = 100.0
    """Tokens of text in a sample, template and answers."""
    supervised_tokens: float = 60.0
    """Those of them that the loss sums over."""
    image_share: float = 1.0
    """Share of samples with a picture."""
    longest_tokens: int | None = None
    """Longest sequence, image included, that memory is reckoned for; unset: the longest that the run takes."""

    def __post_init__(self) -> None:
        if self.text_tokens <= 0:
            raise UserError("out of range", where="text_tokens", found=self.text_tokens, wanted="> 0")
        if not 0 < self.supervised_tokens <= self.text_tokens:
            wanted = f"more than 0, at most the {self.text_tokens:g} text_tokens"
            raise UserError("out of range", where="supervised_tokens", found=self.supervised_tokens, wanted=wanted)
        if not 0 <= self.image_share <= 1:
            raise UserError("out of range", where="image_share", found=self.image_share, wanted="[0, 1]")
        if self.longest_tokens is not None and self.longest_tokens < 1:
            raise UserError("out of range", where="longest_tokens", found=self.longest_tokens, wanted=">= 1")


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What `--plan` reckons with; training itself reads none of it."""

    gpu: AcceleratorName = "H100-80GB"
    """Kind of GPU."""
    num_gpus: int = 1
    """How many of them."""
    mfu: float = 0.4
    """Share of their peak that useful work reaches (model FLOPs utilisation)."""
    language: Lengths = field(default_factory=lambda: Lengths(image_share=0.0))
    """Samples of the phase language."""
    align: Lengths = field(default_factory=Lengths)
    """Samples of the phase align."""
    instruct: Lengths = field(default_factory=Lengths)
    """Samples of the phase instruct."""
    detail: Lengths = field(default_factory=Lengths)
    """Samples of the phase detail."""

    def __post_init__(self) -> None:
        if self.num_gpus < 1:
            raise UserError("out of range", where="plan.num_gpus", found=self.num_gpus, wanted=">= 1")
        if not 0 < self.mfu <= 1:
            raise UserError("out of range", where="plan.mfu", found=self.mfu, wanted="(0, 1]")
