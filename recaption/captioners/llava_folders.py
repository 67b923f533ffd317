"""Which models are LLaVAs, and which of these our own decoding engine runs, told without loading weights."""

import json
from pathlib import Path

from imagetext.conversation_files import IMAGE_TOKEN
from runtime.errors import UserError

_RENDERING = "rendering.json"
"""What `llava_train` writes beside every captioner that it publishes."""
_PROBE = "What is it?"


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


def is_run_here(folder: Path) -> bool:
    """Tell whether a LLaVA is one for `llava_train`: built as it builds them, and asked by messages of plain text.

    Others, such as those first published for Vicuna, take pictures and words as parts of a message; transformers runs
    them by their own processor. Raises UserError for a damaged folder.
    """
    if not is_llava(folder):
        return False
    if (folder / _RENDERING).is_file():
        return True
    # transformers comes with it, which a finished job is looked at without.
    from llava_train.construction import require_known_construction

    try:
        require_known_construction(folder)
    except UserError:
        return False
    return _takes_plain_text(folder)


def _takes_plain_text(folder: Path) -> bool:
    from imagetext.chat_marks import own_template, render_text
    from imagetext.tokenizers import load_hf_tokenizer

    tokenizer = load_hf_tokenizer(folder)
    template = own_template(tokenizer)
    if template is None:
        return False
    try:
        text = render_text(template, [{"role": "user", "content": f"{IMAGE_TOKEN}\n{_PROBE}"}], tokenizer)
    except UserError:
        return False
    return IMAGE_TOKEN in text and _PROBE in text
