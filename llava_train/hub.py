"""Model folders given by a path, or by a name on the Hugging Face Hub."""

import re
from pathlib import Path

from runtime.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files of config, tokenizer, processor and chat template."""
_WEIGHTS = ("*.safetensors", "*.bin")
"""Weights, the second kind only of a repository without the first, as transformers prefers them."""


def local_folder(model: str | Path) -> Path:
    """Return the folder of a model; one of the Hub is fetched into the Hub's own cache first.

    A path that is neither there nor shaped like a name on the Hub is returned as it is: its reader says what is
    missing. Raises UserError when the Hub does not give the model out.
    """
    name = str(model)
    if Path(model).exists() or not _HUB_NAME.fullmatch(name):
        return Path(model)
    for weights in _WEIGHTS:
        folder = _fetch(name, [*_SETTINGS, weights])
        if next(folder.glob(weights), None) is not None:
            return folder
    raise UserError("no weights here", where=name, found=f"no {' and no '.join(_WEIGHTS)}", fix="Name another model")


def _fetch(name: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # LLaMA's repositories hold a second copy of the weights in `original/`.
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["original/*"]))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        fix = "Give the path of a folder, or fetch it where there is a network: the cache is read from then on"
        raise UserError(
            "neither a folder nor a model that the Hub gives out", where=name, found=reason, fix=fix
        ) from error
