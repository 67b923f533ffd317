"""The layout of the original LLaVA code: `LlavaLlamaForCausalLM`, `mm_vision_tower`, `mm_projector.*`.

Its `config.json` is LLaMA's with fields of its own (`mm_*`); its weights are LLaMA's with the projector inside
(`model.mm_projector.0`, `.2`) and, in some checkpoints, the vision tower (`model.vision_tower.vision_tower.*`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.pretrained import read_tensors

PartName = Literal["language_model", "head", "projector", "vision_tower"]

ARCHITECTURE = "LlavaLlamaForCausalLM"
_WANTED_FIELDS: Mapping[str, tuple[object, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch", None),
    "mm_patch_merge_type": ("flat", None),
    "mm_use_im_start_end": (False, None),
    "s2": (False, None),
    "image_aspect_ratio": ("pad", "square", None),
}
"""Fields whose other values build what transformers' LLaVA is not; None stands for a field that is left out."""
_BEGINNINGS: Mapping[PartName, re.Pattern[str]] = {
    "projector": re.compile(r"^(?:model\.)?mm_projector\."),
    "vision_tower": re.compile(r"^(?:model\.)?vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?"),
    "language_model": re.compile(r"^model\.(?=(?:embed_tokens|layers|norm)\.)"),
    "head": re.compile(r"^lm_head\."),
}
"""How the names of each part's tensors begin."""
_PROJECTOR_LAYERS = {"0.": "linear_1.", "2.": "linear_2."}
"""Places in the original's `nn.Sequential`, whose second is the activation, and transformers' names for them."""
_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$|\.embeddings\.position_ids$")
"""Tables that old versions stored though they follow from the config."""


@dataclass(frozen=True, kw_only=True)
class OriginalConfig:
    """What an original checkpoint's config says of its construction."""

    vision_tower: str
    """Folder or Hub name of its CLIP (`mm_vision_tower`)."""
    vision_feature_layer: int
    """Layer of the tower that is read (`mm_vision_select_layer`)."""
    pad_images: bool
    """Whether pictures are padded to squares (`image_aspect_ratio: pad`)."""
    tower_was_trained: bool
    """Whether the checkpoint's tower is another than the published one (`unfreeze_mm_vision_tower`)."""
    language_model: LlamaConfig


def read_original_config(folder: Path) -> OriginalConfig:
    """Read and check `config.json`; raises UserError naming a field that builds what transformers' LLaVA is not."""
    file = folder / "config.json"
    config = read_object(file, "architectures", "mm_vision_tower", "mm_vision_select_layer")
    if config["architectures"] != [ARCHITECTURE]:
        raise UserError("not the original layout", where=file, found=config["architectures"], wanted=[ARCHITECTURE])
    for field, wanted in _WANTED_FIELDS.items():
        if config.get(field) not in wanted:
            raise UserError(
                f"this captioner has no place in transformers' LLaVA: {field}",
                where=file,
                found=config.get(field),
                wanted=" or ".join(str(value) for value in wanted if value is not None),
            )
    return OriginalConfig(
        vision_tower=str(config["mm_vision_tower"]),
        vision_feature_layer=int(config["mm_vision_select_layer"]),
        pad_images=config.get("image_aspect_ratio") == "pad",
        tower_was_trained=bool(config.get("unfreeze_mm_vision_tower", False)),
        language_model=_llama_config(config),
    )


def read_original_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint by their names in it, whatever its files: safetensors or bin, one or many.

    Raises UserError when there are none, a file of the index is missing, or one name stands in two files.
    """
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        found = read_tensors(file) if file.suffix == ".safetensors" else _read_bin(file)
        for name, tensor in found.items():
            if name in tensors:
                raise UserError(f"tensor {name!r} stands in two files", where=file, fix="Remove one of them")
            tensors[name] = tensor
    return tensors


def split_parts(tensors: Mapping[str, Tensor], folder: Path) -> dict[PartName, dict[str, Tensor]]:
    """Return each part's tensors by the names that transformers' module of this part has for them.

    Raises UserError naming a tensor that belongs to no part of a LLaVA.
    """
    parts: dict[PartName, dict[str, Tensor]] = {name: {} for name in _BEGINNINGS}
    unused = []
    for name, tensor in tensors.items():
        if _DERIVED.search(name):
            continue
        place = _place(name)
        if place is None:
            unused.append(name)
        else:
            part, new_name = place
            parts[part][new_name] = tensor
    if unused:
        raise _unused(unused, folder)
    return parts


def fill(module: nn.Module, weights: Mapping[str, Tensor], part: PartName, folder: Path) -> None:
    """Give a module its part's tensors, as they are, without a copy.

    Raises UserError naming a tensor that the module needs and the checkpoint lacks, one that the module does not use,
    or one of another shape.
    """
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    if missing:
        what = f"the checkpoint lacks its {part.replace('_', ' ')}" + (f": {missing[0]!r}" if weights else "")
        fix = "LLaVA's first stage and its LoRA save parts alone: merge them with their base first"
        raise UserError(what, where=folder, found=f"{len(missing)} of {len(wanted)} weights missing", fix=fix)
    unused = sorted(weights.keys() - wanted.keys())
    if unused:
        raise _unused([f"{part}: {name}" for name in unused], folder)
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            shapes = list(tensor.shape), list(wanted[name].shape)
            raise UserError(
                f"{part} weight {name!r} has another shape", where=folder, found=shapes[0], wanted=f"{shapes[1]}"
            )
    module.load_state_dict(weights, assign=True)


def _unused(names: Sequence[str], folder: Path) -> UserError:
    return UserError(
        f"tensor {min(names)!r} would be left unused",
        where=folder,
        found=f"{len(names)} such tensors",
        wanted="those of LLaMA, of a projector's two layers and of a vision tower alone",
        fix="Import it with the code that wrote it, or leave out what does not belong to it",
    )


def _llama_config(config: Mapping[str, Any]) -> LlamaConfig:
    own = (
        "mm_",
        "image_",
        "tune_mm",
        "freeze_mm",
        "unfreeze_mm",
        "use_mm",
        "tokenizer_",
        "pretrain_mm",
        "vision_tower",
    )
    fields = {name: value for name, value in config.items() if not name.startswith(own)}
    for name in ("architectures", "model_type", "_name_or_path", "auto_map", "transformers_version", "torch_dtype"):
        fields.pop(name, None)
    return LlamaConfig(**fields)


def _place(name: str) -> tuple[PartName, str] | None:
    """Return the part that a tensor belongs to and its name there, or None."""
    for part, beginning in _BEGINNINGS.items():
        rest, count = beginning.subn("", name)
        if not count:
            continue
        if part != "projector":
            return part, rest
        for old, new in _PROJECTOR_LAYERS.items():
            if rest.startswith(old):
                return part, new + rest.removeprefix(old)
    return None


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        index = next(folder.glob(f"{pattern}.index.json"), None)
        if index is not None:
            names = sorted(set(read_object(index, "weight_map")["weight_map"].values()))
            return [folder / name for name in names]
        files = sorted(folder.glob(pattern))
        if files:
            return files
    found = "no model*.safetensors and no pytorch_model*.bin"
    raise UserError("no weights here", where=folder, found=found, fix="Fetch or copy the whole checkpoint")


def _read_bin(file: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("no weights here", where=file, found="no such file") from None
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError("weights are damaged", where=file, found=" ".join(str(error).split())[:200]) from error
    return {str(name): tensor for name, tensor in loaded.items()}
