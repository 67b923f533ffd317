"""A trained CLIP as others use it: images and texts in, unit features out."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Bool, Float, Int
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from clip_train.contrastive import attention_kernels
from clip_train.export import CONFIG_NAME, WEIGHTS_NAME
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ClipEncoder:
    """Encode images and texts with an open_clip directory; build it with `load_encoder`."""

    model: CLIP | CustomTextCLIP
    preprocess: Any
    """The directory's evaluation transform: PIL image to tensor."""
    tokenizer: Any
    device: torch.device
    checkpoint_sha256: str
    """Digest of the weights file; results name it."""

    @property
    def logit_scale(self) -> float:
        """Return the factor between a cosine and a logit."""
        return float(self.model.logit_scale.detach().exp())

    def encode_images(self, images: Sequence[Image.Image], batch_size: int = 256) -> Float[Tensor, "images width"]:
        """Return unit features, float32 on the CPU."""
        batches = (
            torch.stack([self.preprocess(image) for image in images[start : start + batch_size]])
            for start in range(0, len(images), batch_size)
        )
        return self._encode(self.model.encode_image, batches)

    def encode_prepared(self, pictures: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images width"]:
        """Return unit features, float32 on the CPU, of pictures that went through `preprocess` already."""
        return self._encode(self.model.encode_image, iter([pictures]))

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Float[Tensor, "texts width"]:
        """Return unit features, float32 on the CPU; texts beyond the context length are truncated."""
        batches = (
            self.tokenizer(list(texts[start : start + batch_size])) for start in range(0, len(texts), batch_size)
        )
        return self._encode(self.model.encode_text, batches)

    def truncated(self, texts: Sequence[str]) -> Bool[Tensor, " texts"]:
        """Tell which texts lose words to the context length."""
        return self.token_counts(texts) > self.tokenizer.context_length

    def token_counts(self, texts: Sequence[str]) -> Int[Tensor, " texts"]:
        """Count each whole text's tokens, special ones included, however many the context has room for."""
        return torch.tensor([self._num_tokens(text) for text in texts], dtype=torch.int64)

    def _num_tokens(self, text: str) -> int:
        if isinstance(self.tokenizer, HFTokenizer):
            return len(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text)).input_ids)
        return len(self.tokenizer.encode(text)) + 2

    @torch.inference_mode()
    def _encode(self, encode: Any, batches: Iterator[Tensor]) -> Float[Tensor, "items width"]:
        with attention_kernels(self.device):
            rows = [encode(batch.to(self.device), normalize=True).float().cpu() for batch in batches]
        return torch.cat(rows)


def load_encoder(folder: Path, device: torch.device | str = "cpu") -> ClipEncoder:
    """Load an open_clip directory (`open_clip_config.json`, weights, tokenizer files), offline.

    Raises UserError when the folder is not one or its weights do not fit its config.
    """
    folder = Path(folder)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            fix = "Give the export/ folder of a clip_train run."
            raise UserError("not an open_clip directory", where=folder, found=f"no {name}", wanted=name, fix=fix)
    with _explained(folder):
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}", device=str(device))
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    digest = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    return ClipEncoder(
        model=model.eval(),
        preprocess=preprocess,
        tokenizer=tokenizer,
        device=torch.device(device),
        checkpoint_sha256=digest,
    )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        reason = str(error).splitlines()
        raise UserError("the model cannot be loaded", where=folder, found=" ".join(reason[:2])) from error
