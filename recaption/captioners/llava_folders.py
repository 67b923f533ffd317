"""Which models are LLaVAs, told without loading anything."""

import json
from pathlib import Path


def is_llava(model: Path) -> bool:
    """Tell whether a path is a LLaVA-1.5 directory."""
    path = model / "config.json"
    if not path.is_file():
        return False
    try:
        return json.loads(path.read_text()).get("model_type") == "llava"
    except (ValueError, AttributeError):
        # Whoever loads the model says what is wrong with the file.
        return False
