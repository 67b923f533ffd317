"""A prompt about one picture as its model was trained to be asked, by the model's own chat template."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from imagetext.conversations import stop_token_ids
from llava_train.parity import check_example
from recaption.captioners.llava_folders import is_llava
from runtime.errors import UserError
from runtime.json_files import read_object

_REMEMBERED_PROMPTS = 64
"""Prompts whose tokens are kept: all of a job's but those that hold a row's own caption."""


class PromptRenderer:
    """Render requests to one model: the picture first, then the words."""

    def __init__(self, folder: Path):
        self.processor = load_processor(folder)
        self.stop_ids = tuple(sorted({*_generation_stops(folder), *stop_token_ids(self.processor.tokenizer)}))
        """Tokens that end an answer: the model's own, and those that its tokenizer's family is known by."""
        self.token_ids = lru_cache(maxsize=_REMEMBERED_PROMPTS)(self._token_ids)
        self._folder = folder
        if is_llava(folder):
            check_example(folder, self.processor.tokenizer, _num_patches(folder))

    def text(self, prompt: str) -> str:
        """Return a request as text, with the model's mark for a picture; raises UserError where its template fails."""
        from jinja2 import TemplateError

        content = [{"type": "image"}, {"type": "text", "text": prompt.strip()}]
        messages = [{"role": "user", "content": content}]
        try:
            return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        except (TemplateError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
            fix = "Save the model with a chat template that takes a picture"
            raise UserError("no request can be rendered", where=self._folder, found=found, fix=fix) from error

    def wants_special_tokens(self, text: str) -> bool:
        """Tell whether the tokenizer has to begin a request as it begins texts, since the template does not."""
        begin = self.processor.tokenizer.bos_token
        return begin is None or not text.startswith(begin)

    def _token_ids(self, prompt: str) -> list[int]:
        """Return a request as token ids, with one mark for the whole picture."""
        text = self.text(prompt)
        return list(self.processor.tokenizer.encode(text, add_special_tokens=self.wants_special_tokens(text)))


def load_processor(folder: Path) -> Any:
    """Return the processor saved in a model's directory; raises UserError where there is none for pictures."""
    from transformers import AutoProcessor

    try:
        processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = " ".join(str(error).split())[:300]
        raise UserError("processor can't be loaded", where=folder, found=found, fix="Save it with the model") from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        wanted = "one of a model that reads pictures and words"
        raise UserError("not a captioner's processor", where=folder, found=type(processor).__name__, wanted=wanted)
    return processor


def _generation_stops(folder: Path) -> list[int]:
    """Return the end tokens that a model's generation settings name: one, several or none."""
    path = folder / "generation_config.json"
    found = read_object(path).get("eos_token_id") if path.exists() else None
    return [found] if isinstance(found, int) else list(found or [])


def _num_patches(folder: Path) -> int:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    return int((vision["image_size"] // vision["patch_size"]) ** 2)
