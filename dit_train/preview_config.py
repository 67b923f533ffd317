"""Which pictures are drawn during training."""

from dataclasses import dataclass, field

from dit_train.sampling_config import SamplingConfig
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """Sheets of pictures, drawn with the averaged weights: the same prompts from the same noise each time."""

    every_updates: int | None = None
    """Updates between two sheets, the last update always has one; null draws none."""
    prompts: list[str] = field(default_factory=list)
    """What is drawn, a picture each."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How."""

    def __post_init__(self) -> None:
        if self.every_updates is None:
            return
        if self.every_updates < 1:
            raise UserError(
                "out of range", where="every_updates", found=self.every_updates, wanted="1 or more, or null"
            )
        if not self.prompts:
            fix = "Give some, or set every_updates to null"
            raise UserError("nothing to draw", where="previews.prompts", found="none", wanted="prompts", fix=fix)
