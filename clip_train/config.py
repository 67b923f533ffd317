"""What a contrastive run can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from clip_train.presets import find_preset
from imagetext.mix import CaptionMixConfig, check_sources
from imagetext.stream import DataConfig
from runtime.errors import UserError
from runtime.loop_config import LoopConfig


@dataclass(frozen=True, kw_only=True)
class ClipTrainConfig:
    """Train a CLIP on images and mixed captions."""

    output_dir: Path
    """Run folder; the trained model ends in its export/."""
    data: DataConfig
    """Shards, and the sidecars that hold further captions."""
    loop: LoopConfig
    """How long, how fast and in what precision to train."""
    mix: CaptionMixConfig = field(default_factory=CaptionMixConfig)
    """Which of an image's captions it is trained with, and how often."""
    model: str = "b_base"
    """Name of the model: vision and text tower (s_small, s_base, b_base, b_large, l_large, l_huge), or foundation."""
    image_size_px: int = 64
    """Side of the square images the vision tower reads."""
    crop_area_min: float = 0.4
    """Smallest share of an image's area that a training crop keeps (the paper's 0.4); images are never mirrored."""
    context_length: int = 80
    """Tokens that a caption may have; longer ones are truncated and counted."""
    vocab_size: int = 4000
    """Most entries of the tokenizer that is trained before the model."""
    tokenizer_data: DataConfig | None = None
    """Data whose captions the tokenizer is trained on; the run's own data if null. Runs that are to be compared share
    it, as the paper's share bert-base-uncased.
    """
    learning_rate_multipliers: dict[str, float] = field(default_factory=dict)
    """Factors on the learning rate by the beginning of a weight's name (`transformer` is the text tower's blocks); the
    longest that fits counts, and what 0 fits is frozen.
    """
    seed: int = 0
    """Seed of everything random: initial weights, order, captions, crops."""

    def __post_init__(self) -> None:
        check_sources(self.mix, self.data.caption_sources)
        preset = find_preset(self.model)
        if self.image_size_px <= 0 or self.image_size_px % preset.patch_size_px:
            wanted = f"a positive multiple of the model's patch size, {preset.patch_size_px}"
            raise UserError(
                "image does not divide into patches", where="image_size_px", found=self.image_size_px, wanted=wanted
            )
        if not 0 < self.crop_area_min <= 1:
            raise UserError("no such crop", where="crop_area_min", found=self.crop_area_min, wanted="a share in (0, 1]")
        if self.context_length < 3:
            raise UserError("no room for a word", where="context_length", found=self.context_length, wanted="3 or more")
        if self.vocab_size < 300:
            raise UserError("no room for an alphabet", where="vocab_size", found=self.vocab_size, wanted="300 or more")
