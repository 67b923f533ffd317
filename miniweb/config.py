"""What a small web is built from: counts, rates, sizes and one seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from miniweb.alttext import AltTextRates
from miniweb.world import LayoutConfig
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CountsConfig:
    """How many images, prompts or texts each part holds."""

    web: int = 20_000
    """Web images after the filter."""
    foundation: int = 20_000
    """Images of the CLIP that captioner and image generators build upon."""
    captioner: int = 12_000
    """Images with conversations."""
    captioner_text: int = 20_000
    """Texts without an image, for the language model's own training."""
    captioner_heldout: int = 500
    """Images of the captioner's own domain that it is evaluated on."""
    judges_train: int = 12_000
    """Images the judges of generated pictures are trained on."""
    judges_test: int = 1_000
    """Images the judges' ceiling is measured on."""
    development: int = 500
    """Web-like images for tuning."""
    web_heldout: int = 500
    """Web-like images for the evaluation of captions."""
    retrieval: int = 500
    """Images of each of the three retrieval sets."""
    species: int = 2_000
    """Images of the zero-shot classification of species."""
    kinds: int = 1_000
    """Images of the zero-shot classification of kinds."""
    swap: int = 4_000
    """Images of the attribute swap, each with a true caption and one with two colours exchanged; two images, one with
    the colours of the other exchanged, share a pair of captions, so that 4,000 images are 2,000 pairs. Even."""
    prompts: int = 500
    """Prompts for image generation, each with the image it was written for."""
    recombined: int = 200
    """Prompts with combinations that no training split holds."""
    longer: int = 200
    """Prompts of scenes with more things than most."""

    def __post_init__(self) -> None:
        for count in fields(self):
            if getattr(self, count.name) < 1:
                raise UserError("count", where=f"counts.{count.name}", found=getattr(self, count.name), wanted=">= 1")
        if self.swap % 2:
            raise UserError("count", where="counts.swap", found=self.swap, wanted="an even number")


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """Sizes of the pictures."""

    min_longest_side_px: int = 80
    """Longest side of the smallest pictures."""
    max_longest_side_px: int = 128
    """Longest side of the largest pictures."""
    aspect_ratio_shares: Mapping[str, float] = field(
        default_factory=lambda: {"1:1": 0.4, "4:3": 0.2, "3:4": 0.15, "5:4": 0.15, "4:5": 0.1}
    )
    """Width to height -> relative share."""

    def __post_init__(self) -> None:
        if not 32 <= self.min_longest_side_px <= self.max_longest_side_px:
            found = (self.min_longest_side_px, self.max_longest_side_px)
            raise UserError("longest sides", where="pictures", found=found, wanted="32 <= smallest <= largest")
        for ratio in self.aspect_ratio_shares:
            width, _, height = ratio.partition(":")
            if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
                raise UserError("aspect ratio", where="pictures", found=ratio, wanted='"width:height", as in "4:3"')


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What makes the web images a web."""

    variant_share: float = 0.3
    """Share of images that come in groups of two to four neighbours with the same things and permuted colours."""
    filtered: bool = True
    """Whether candidates pass a filter of image-text similarity, as DataComp's pool did, before they become the web."""
    filter_keep_share: float = 0.85
    """Share of candidates that the filter keeps, the most similar first."""
    filter_noise: float = 1.5
    """Standard deviation of the noise in the filter's similarity; a caption that is all true scores 1, all wrong -1."""
    alt_text: AltTextRates = field(default_factory=AltTextRates)
    """Rates of the alt-text's noise, before the filter."""

    def __post_init__(self) -> None:
        if not 0 <= self.variant_share <= 1:
            raise UserError("variant_share", where="web", found=self.variant_share, wanted="a share in [0, 1]")
        if not 0 < self.filter_keep_share <= 1:
            raise UserError("filter_keep_share", where="web", found=self.filter_keep_share, wanted="a share in (0, 1]")
        if self.filter_noise < 0:
            raise UserError("filter_noise", where="web", found=self.filter_noise, wanted=">= 0")


@dataclass(frozen=True, kw_only=True)
class MiniwebConfig:
    """One small web. All that is built is a function of these fields, `output_dir` and `processes` aside."""

    output_dir: Path
    """Where it is written."""
    processes: int = 2
    """Worker processes; the result does not depend on it."""
    seed: int = 0
    """Of everything random."""
    shard_size: int = 1_000
    """Samples in a shard."""
    counts: CountsConfig = field(default_factory=CountsConfig)
    """Sizes of the parts."""
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    """Where things stand, and how large."""
    pictures: PictureConfig = field(default_factory=PictureConfig)
    """Sizes of the pictures."""
    web: WebConfig = field(default_factory=WebConfig)
    """Alt-text, product variants and the filter."""

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError("processes", where="processes", found=self.processes, wanted=">= 1")
        if not 1 <= self.shard_size <= 10_000:
            raise UserError("shard_size", where="shard_size", found=self.shard_size, wanted="1 to 10000")
