"""Names for what shapes captions: short digests of a model's files, of a prompt, of a captioner's settings."""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ID_LENGTH = 16
"""Hex digits of a captioner's and a prompt's identity."""
IDENTITY_PATTERNS = ("*.json", "*.jinja", "*.safetensors", "*.bin", "*.model", "*.txt")
"""Files of a model directory that decide what it says."""


def identify_model(folder: Path) -> str:
    """Return a digest of the files that decide what a model directory says: weights, configs, tokenizer, template."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in IDENTITY_PATTERNS for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:ID_LENGTH]


def identify_prompt(prompt: str) -> str:
    """Return a digest of a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:ID_LENGTH]


def identify_settings(settings: Mapping[str, object]) -> str:
    """Return a digest of settings that can be written as JSON, in whatever order they are named."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:ID_LENGTH]


def package_versions(*names: str) -> dict[str, str]:
    """Return the installed versions of packages; one that is not installed has none."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions
