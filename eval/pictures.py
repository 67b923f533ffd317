"""Generated pictures that are kept for the report."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eval.prompts import Prompt
from runtime import atomic


def encode_png(picture: UInt8[np.ndarray, "channel height width"]) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()


def save_pictures(
    folder: Path,
    name: str,
    prompts: Sequence[Prompt],
    pictures: Mapping[str, UInt8[np.ndarray, "picture channel height width"]],
    limit: int,
) -> None:
    """Write the first pictures of a prompt set, by tag (truth, fixed, best), and their prompts beside."""
    target = folder / "pictures" / name
    for tag, drawn in pictures.items():
        for prompt, picture in zip(prompts[:limit], drawn[:limit], strict=True):
            atomic.write_bytes(target / tag / f"{prompt.key}.png", encode_png(picture))
    atomic.write_json(target / "prompts.json", {prompt.key: prompt.text for prompt in prompts[:limit]})


def load_prompts(folder: Path, name: str) -> dict[str, str]:
    """Read the kept prompts of a set by key, empty where none were kept."""
    path = folder / "pictures" / name / "prompts.json"
    return json.loads(path.read_text()) if path.exists() else {}
