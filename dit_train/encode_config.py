"""What encoding shards can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagetext.decode import MAX_PIXELS
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Encode the images of shards once, for any number of training runs."""

    shards: str | Path
    """Folder or fsspec URL of shards in img2dataset's layout."""
    vae: Path
    """Folder of a diffusers AutoencoderKL."""
    output_dir: Path
    """Folder for the latents, one file per shard and its mark; finished shards are left alone."""
    image_size_px: int = 256
    """Side of the square that is cut from an image's centre."""
    mirrored: bool = False
    """Encode each image's mirror image too, for runs with `flip`; doubles work and space."""
    batch_size: int = 32
    """Images encoded at once, never over a shard's end."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the autoencoder under autocast: faster on a GPU, and rounded by a little more than storing rounds."""
    num_workers: int = 0
    """Processes that read and decode ahead; the latents are the same for any number."""
    max_pixels: int = MAX_PIXELS
    """Pixels above which an image is a bad sample."""
    threads: int = 1
    """Threads of torch on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to encode. Under torchrun each process takes every so-manieth shard."""

    def __post_init__(self) -> None:
        for name, value, least in [
            ("image_size_px", self.image_size_px, 1),
            ("batch_size", self.batch_size, 1),
            ("num_workers", self.num_workers, 0),
            ("threads", self.threads, 1),
        ]:
            if value < least:
                raise UserError("out of range", where=name, found=value, wanted=f"{least} or more")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise UserError("out of range", where="max_pixels", found=self.max_pixels, wanted=f"1 to {MAX_PIXELS}")
