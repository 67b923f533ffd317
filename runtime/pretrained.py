"""Load published models (transformers, diffusers, safetensors), refusing what would load only in part.

The libraries warn about weights that are missing or of another shape, and go on with random ones; here they are errors.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import UserError
from runtime.json_files import read_object

Model = TypeVar("Model")

_CONFIG = "config.json"
_TYPE_KEYS = ("model_type", "_class_name")
"""Where transformers and diffusers say what a folder holds."""


def load_pretrained(model_class: type[Model], folder: Path, *, model_types: Sequence[str], **options: Any) -> Model:
    """Load a folder that a library's `save_pretrained` wrote, every weight of it.

    Raises UserError when the folder is none, holds another type than `model_types`, or has weights that are damaged,
    missing, or of another shape than its config says.
    """
    folder = Path(folder)
    name = model_class.__name__
    _require_type(folder, model_types)
    _silence()
    loader: Any = model_class
    try:
        model, report = loader.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"no {name} can be loaded", where=folder, found=_first_lines(error)) from error
    _refuse_partial(folder, report)
    return model


def lossless_dtype(folder: Path) -> torch.dtype:
    """Return the type in which to load a folder's weights, so that none is rounded and few are copied.

    bfloat16 where its safetensors files hold no other floating type: transformers then leaves the weights in the files,
    mapped into memory, and all processes of a machine share those pages. Otherwise float32: float16 has too small a
    range to compute in, and other files do not say what they hold. A damaged file is left to its reader to refuse.
    """
    try:
        found = {dtype for file in folder.glob("*.safetensors") for dtype in _floating_types(file)}
    except SafetensorError:
        return torch.float32
    return torch.bfloat16 if found == {"BF16"} else torch.float32


def _floating_types(file: Path) -> set[str]:
    """Return what a file's header says of its tensors, in safetensors' names: F32, F16, BF16, F8_E4M3 and so on."""
    with safe_open(file, framework="pt") as opened:
        found = {str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    return {name for name in found if name.startswith(("F", "BF"))}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; raise UserError when it is missing or damaged."""
    try:
        return load_file(file)
    except FileNotFoundError:
        raise UserError("no weights here", where=file, found="no such file") from None
    except SafetensorError as error:
        fix = "Copy it again, or run its writer again"
        raise UserError("weights are damaged", where=file, found=_first_lines(error), fix=fix) from error


def _require_type(folder: Path, wanted: Sequence[str]) -> None:
    if not (folder / _CONFIG).is_file():
        expected = f"a model folder of type {' or '.join(wanted)}"
        raise UserError("no model here", where=folder, found=f"no {_CONFIG}", wanted=expected)
    config = read_object(folder / _CONFIG)
    found = next((config[key] for key in _TYPE_KEYS if key in config), "no type")
    if found not in wanted:
        raise UserError("a model of another type", where=folder / _CONFIG, found=found, wanted=" or ".join(wanted))


def _refuse_partial(folder: Path, report: Mapping[str, Any]) -> None:
    fix = "Its weights and its config.json belong to different models: export it again"
    mismatched = sorted(report["mismatched_keys"], key=str)
    if mismatched:
        name, found, wanted = mismatched[0]
        raise UserError(
            f"weight {name!r} has another shape", where=folder, found=list(found), wanted=f"{list(wanted)}", fix=fix
        )
    missing = sorted(str(name) for name in report["missing_keys"])
    if missing:
        raise UserError(f"weight {missing[0]!r} is missing", where=folder, fix=fix)


def _silence() -> None:
    """Keep the libraries' bars and load reports off the terminal: what matters in them is an error here."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for library in ("transformers", "diffusers"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"
