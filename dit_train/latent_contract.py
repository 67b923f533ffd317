"""What stored latents are latents of: written into every file of them, and compared before any is trained on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dit_train.autoencoder import Autoencoder
from runtime.errors import UserError

VERSION = 1
RESIZE_RULE = "shorter side to size, bicubic, then centre crop"
_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_FIX = "Encode the shards with the autoencoder and settings of this run, into another folder"


@dataclass(frozen=True, kw_only=True)
class LatentContract:
    """Everything that two runs must agree on to read each other's latents."""

    version: int = VERSION
    vae_sha256: str
    """Digest of the autoencoder's config and weights."""
    scaling_factor: float
    """What stored moments are to be multiplied by; they are stored unscaled."""
    shift_factor: float
    latent_channels: int
    pixels_per_cell: int
    image_size_px: int
    resize_rule: str = RESIZE_RULE
    dtype: str = "bfloat16"

    @property
    def cells(self) -> int:
        """Return the side of a latent."""
        return self.image_size_px // self.pixels_per_cell

    def require(self, found: Mapping[str, Any], where: Path) -> None:
        """Raise UserError, naming the field, when latents at `where` were made under another contract."""
        wanted = asdict(self)
        for field in fields(self):
            if found.get(field.name) != wanted[field.name]:
                raise UserError(
                    f"latents of another kind: {field.name}",
                    where=where,
                    found=found.get(field.name),
                    wanted=str(wanted[field.name]),
                    fix=_FIX,
                )


def contract_of(autoencoder: Autoencoder, folder: Path, image_size_px: int) -> LatentContract:
    """Return the contract of latents that an autoencoder in `folder` makes of square images.

    Raises UserError when the size does not divide into its cells.
    """
    if image_size_px % autoencoder.pixels_per_cell:
        wanted = f"a multiple of {autoencoder.pixels_per_cell}, the side of the autoencoder's cells"
        raise UserError("no whole latent", where="image_size_px", found=image_size_px, wanted=wanted)
    return LatentContract(
        vae_sha256=_digest(folder),
        scaling_factor=autoencoder.scaling_factor,
        shift_factor=autoencoder.shift_factor,
        latent_channels=autoencoder.latent_channels,
        pixels_per_cell=autoencoder.pixels_per_cell,
        image_size_px=image_size_px,
    )


def _digest(folder: Path) -> str:
    """Return a digest of what decides an autoencoder's output, whatever library version wrote its config."""
    config = json.loads((folder / "config.json").read_text())
    shape = {key: value for key, value in sorted(config.items()) if not key.startswith("_")}
    digest = hashlib.sha256(json.dumps(shape).encode())
    for file in sorted(file for file in folder.iterdir() if file.suffix in _WEIGHT_SUFFIXES):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
