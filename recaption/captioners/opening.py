"""Open the captioner that a config asks for, or tell its id without opening it."""

import sys
from importlib.util import find_spec
from pathlib import Path

from llava_train.hub import local_folder
from recaption.captioners.base import Captioner
from recaption.captioners.llava_folders import is_run_here
from recaption.config import RecaptionConfig
from runtime.errors import UserError


def open_captioner(config: RecaptionConfig) -> Captioner:
    """Load or connect to the captioner; raises UserError where there is none, or not the one wanted."""
    if config.captioner == "transformers" and not _is_run_here(config):
        from recaption.captioners.vision_language_captioner import VisionLanguageCaptioner

        return VisionLanguageCaptioner(config)
    if config.captioner == "openai":
        from recaption.captioners.openai_captioner import OpenAICaptioner

        return OpenAICaptioner(config)
    if config.captioner == "vllm":
        _require_vllm()
        from recaption.captioners.vllm_captioner import VllmCaptioner

        return VllmCaptioner(config)
    from recaption.captioners.transformers_captioner import open_transformers

    return open_transformers(config)


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the `captioner_id` of the captioner that `open_captioner` would open; reads the model's files alone.

    Raises UserError for a folder that holds no model.
    """
    if config.captioner == "transformers":
        _refuse_no_model(local_folder(config.model))
    if config.captioner == "transformers" and not _is_run_here(config):
        from recaption.captioners import vision_language_captioner

        return vision_language_captioner.identify_captioner(config)
    if config.captioner == "openai":
        from recaption.captioners import openai_captioner

        return openai_captioner.identify_captioner(config)
    if config.captioner == "vllm":
        _require_vllm()
        from recaption.captioners import vllm_captioner

        return vllm_captioner.identify_captioner(config)
    from recaption.captioners import transformers_captioner

    return transformers_captioner.identify_captioner(config)


def _require_vllm() -> None:
    if find_spec("vllm") is None:
        found = f"no package vllm beside {sys.executable}"
        fix = "Run the job with an environment that has it: make setup-vllm builds .venv-vllm/bin/python for CPUs"
        raise UserError("vLLM is not installed here", where="captioner", found=found, fix=fix)


def _is_run_here(config: RecaptionConfig) -> bool:
    """Tell whether the model is of the kind that `llava_train` runs; what is no model at all is for it to refuse."""
    folder = local_folder(config.model)
    return is_run_here(folder) or not (folder / "config.json").is_file()


def _refuse_no_model(folder: Path) -> None:
    """Refuse before any worker starts, and before anything heavy is imported."""
    if not (folder / "config.json").is_file():
        wanted = "a folder of a model, or its name on the Hub"
        raise UserError("no model here", where=folder, found="no config.json", wanted=wanted)
