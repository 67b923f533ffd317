"""What a phase is measured on while it trains."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class HeldoutConfig:
    """Samples that are never trained on: their loss, and captions of their pictures."""

    conversations: str | None = None
    """LLaVA JSON file inside the data folder; its pictures are found as those of training are, shards included."""
    scenes: Path | None = None
    """Instead, a folder beside or inside the data folder: shards of the drawn web whose samples hold their scenes
    (`../captioner_heldout`). Their descriptions are the answers, and claims of captions are checked against the scenes.
    """
    num_samples: int = 128
    """First samples whose loss is measured."""
    num_captions: int = 4
    """First samples with a picture that are captioned; 0 writes none."""
    max_new_tokens: int = 128
    """Longest caption, in tokens."""
    every_updates: int = 500
    """Updates between two measurements; the last update always has one."""

    def __post_init__(self) -> None:
        if (self.conversations is None) == (self.scenes is None):
            found = "neither" if self.scenes is None else "both"
            raise UserError("no choice of samples", where="heldout", found=found, wanted="conversations or scenes")
        for name in ("num_samples", "max_new_tokens", "every_updates"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=f"heldout.{name}", found=getattr(self, name), wanted=">= 1")
        if self.num_captions < 0:
            raise UserError("out of range", where="heldout.num_captions", found=self.num_captions, wanted=">= 0")
