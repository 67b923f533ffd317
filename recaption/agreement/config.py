"""What `python -m recaption agree` is told."""

from dataclasses import dataclass, field
from pathlib import Path

from recaption.input_config import MovedInput
from runtime.device_name import DeviceName
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AgreeConfig:
    """Compare the greedy captions that two captioners gave the same pictures of one model."""

    recaptions: Path
    """Folder of a `run`."""
    other: Path
    """Folder of a run over the same input, with the same model and prompts, by another captioner."""
    tie: float = 1e-3
    """Two tokens are tied when the model's logits in float32 are no further apart. Both runs in float32 stay below the
    default: sums of products in another order. In bfloat16 logits are rounded to steps of 0.03 to 0.13."""
    equal_share_min: float = 0.95
    """Share of captions that must be equal, ties or not."""
    device: DeviceName = "auto"
    """Where logits are computed, for captions that differ."""
    input: MovedInput = field(default_factory=MovedInput)
    """Where the pictures are, if they moved since the run."""

    def __post_init__(self) -> None:
        if self.tie < 0:
            raise UserError("out of range", where="tie", found=self.tie, wanted=">= 0")
        if not 0 <= self.equal_share_min <= 1:
            found = self.equal_share_min
            raise UserError("out of range", where="equal_share_min", found=found, wanted="from 0 to 1")
