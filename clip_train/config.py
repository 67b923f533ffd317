"""What a contrastive run can be told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from clip_train.plan_config import PlanConfig
from clip_train.presets import find_model
from imagetext.mix import CaptionMixConfig
from imagetext.mix_check import check_mix
from imagetext.stream import DataConfig
from runtime.errors import UserError
from runtime.loop_config import LoopConfig
from runtime.seeds import derive

OPENAI_TOKENIZER = "openai"
"""Name of OpenAI CLIP's tokenizer, which open_clip brings."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """A second stage, which goes on from the first one's weights on the same data and mix."""

    image_size_px: int
    """Side of the images of this stage; the model is published with it."""
    loop: LoopConfig
    """How long, how fast and in what precision to train in this stage."""
    crop_area_min: float = 0.4
    """Smallest share of an image's area that a training crop keeps."""
    context_length: int | None = None
    """Tokens that a caption may have in this stage; null keeps the first stage's. Text positions keep their places."""
    mix: CaptionMixConfig | None = None
    """Which captions images have in this stage; null keeps the first stage's, at the share its schedule ends with."""
    decode_min_side_px: int | None = None
    """`data.decode_min_side_px` of this stage; null decodes JPEGs whole, whatever the first stage does."""


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
    """Name of the model: in miniature vision and text tower (s_small, s_base, b_base, b_large, l_large, l_huge) or
    foundation; a file of configs/clip/models (Recap-CLIP-B-16, ...); or the path of any open_clip model's JSON.
    """
    image_size_px: int = 64
    """Side of the square images the vision tower reads."""
    crop_area_min: float = 0.4
    """Smallest share of an image's area that a training crop keeps (the paper's 0.4); images are never mirrored."""
    context_length: int = 80
    """Tokens that a caption may have; longer ones are truncated and counted."""
    vocab_size: int = 4000
    """Most entries of the tokenizer that is trained before the model."""
    tokenizer: str | None = None
    """Tokenizer that captions are read with: folder of a Hugging Face tokenizer (bert-base-uncased for the paper's
    models), or openai for the one in open_clip; null trains one.
    """
    tokenizer_data: DataConfig | None = None
    """Data whose captions the tokenizer is trained on; the run's own data if null. Runs that are to be compared share
    it, as the paper's share bert-base-uncased.
    """
    learning_rate_multipliers: dict[str, float] = field(default_factory=dict)
    """Factors on the learning rate by the beginning of a weight's name (`transformer` is the text tower's blocks); the
    longest that fits counts, and what 0 fits is frozen.
    """
    start_from: Path | None = None
    """Weights to begin with: an open_clip directory or checkpoint file of the same model. Image size and context may
    differ: image positions are interpolated, text positions keep their places. Null begins with random ones.
    """
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """Loss over a global batch: CLIP's symmetric softmax, or SigLIP's sigmoid over all pairs."""
    several_captions: Literal["multi_positive", "averaged"] = "multi_positive"
    """What the softmax loss makes of several captions of an image (`mix.also`): each image is set against all texts of
    the batch, its own all being right; or the losses of the groups of texts are averaged, as CLIPS and Long-CLIP do.
    The sigmoid loss is the same in both.
    """
    duplicates_are_negatives: bool = True
    """Whether pictures of equal bytes, or equal captions, in a batch count as wrong partners; false leaves such pairs
    out of the loss, over all ranks.
    """
    compile_blocks: bool = False
    """Whether torch compiles the towers' transformer blocks: minutes at the start, then fewer and larger kernels, whose
    sums run in another order.
    """
    finetune: FinetuneConfig | None = None
    """A second stage at another image size, in the same run; null trains one stage."""
    open_clip_checkpoint: bool = False
    """Whether to leave, beside the export, `open_clip/epoch_N.pt`: weights and optimizer for open_clip's own trainer to
    resume from, N being the epochs that were seen.
    """
    plan: PlanConfig = field(default_factory=PlanConfig)
    """What --plan reckons with; training does not read it."""
    seed: int = 0
    """Seed of everything random: initial weights, order, captions, crops."""

    def __post_init__(self) -> None:
        check_mix(self.mix, self.data)
        patch_size_px = find_model(self.model).patch_size_px
        if self.image_size_px <= 0 or self.image_size_px % patch_size_px:
            wanted = f"a positive multiple of the model's patch size, {patch_size_px}"
            raise UserError(
                "image does not divide into patches", where="image_size_px", found=self.image_size_px, wanted=wanted
            )
        if not 0 < self.crop_area_min <= 1:
            raise UserError("no such crop", where="crop_area_min", found=self.crop_area_min, wanted="a share in (0, 1]")
        if self.context_length < 3:
            raise UserError("no room for a word", where="context_length", found=self.context_length, wanted="3 or more")
        if self.vocab_size < 300:
            raise UserError("no room for an alphabet", where="vocab_size", found=self.vocab_size, wanted="300 or more")
        self._check_tokenizer()
        if self.finetune is not None:
            # Refuses now what the second stage would refuse in days.
            assert len(self.stages()) == 2

    def _check_tokenizer(self) -> None:
        if self.tokenizer is not None and self.tokenizer_data is not None:
            wanted = "null when a tokenizer is given"
            raise UserError("nobody would read it", where="tokenizer_data", found="data", wanted=wanted)

    def stages(self) -> "tuple[ClipTrainConfig, ...]":
        """Return each stage of the run as a run of its own, in `stages/`; a run of one stage is itself."""
        if self.finetune is None:
            return (self,)
        folder, stage = self.output_dir / "stages", self.finetune
        first = replace(self, output_dir=folder / "pretrain", finetune=None)
        second = replace(
            self,
            output_dir=folder / "finetune",
            finetune=None,
            start_from=None,
            image_size_px=stage.image_size_px,
            crop_area_min=stage.crop_area_min,
            context_length=stage.context_length or self.context_length,
            data=replace(self.data, decode_min_side_px=stage.decode_min_side_px),
            loop=stage.loop,
            mix=stage.mix or _final_mix(self.mix),
            # Another order, other captions and crops than the first stage's first epoch.
            seed=derive(self.seed, "finetune"),
        )
        return (first, second)


def _final_mix(mix: CaptionMixConfig) -> CaptionMixConfig:
    """Return a mix at the share that its schedule ends with: places would begin anew in the next stage."""
    return replace(
        mix,
        original_share=mix.last_original_share,
        share_changes={},
        share_changes_unit="samples",
        share_course="stepped",
    )
