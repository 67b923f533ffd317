"""Checkpoints that are whole or absent.

    checkpoints/step-0000100/model.safetensors          every parameter and persistent buffer, whole, tied ones once
                             training_state.pt          EMA, metrics since the last line, and the optimizer's state
                             optimizer-0-of-2.pt, ...   or, where ranks share it out, each one's part of that
                             manifest.json              last: update, data, number of parts, size and SHA-256 of files

A checkpoint is written under a partial name and renamed; `latest` returns only folders whose manifest agrees with
their files.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from runtime.atomic import atomic_directory, atomic_path, remove_partials
from runtime.errors import UserError
from runtime.pretrained import read_tensors

MODEL_FILE = "model.safetensors"
STATE_FILE = "training_state.pt"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    """Where it lies."""
    update: int
    """How many updates the model has seen."""
    data_fingerprint: str
    """Which data it was trained on."""
    model_sha256: str
    """SHA-256 of its weights file."""
    num_parts: int
    """How many files the optimizer's state was shared out to; 0 where it lies in the training state."""


def save(
    folder: Path,
    *,
    update: int,
    weights: Mapping[str, Tensor],
    training_state: Mapping[str, Any],
    data_fingerprint: str,
    keep_last: int,
    add_parts: Callable[[Path], int] | None = None,
) -> Checkpoint:
    """Write the checkpoint after `update` updates, then delete all but the newest `keep_last`.

    `add_parts` has all ranks write their `part_file` into the folder that it is given, and returns how many did.
    """
    path = folder / f"step-{update:07d}"
    with atomic_directory(path) as partial:
        num_parts = 0 if add_parts is None else add_parts(partial)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial / MODEL_FILE)
        torch.save(dict(training_state), partial / STATE_FILE)
        files = {name: _describe(partial / name) for name in _file_names(num_parts)}
        manifest = {"update": update, "data_fingerprint": data_fingerprint, "num_parts": num_parts, "files": files}
        (partial / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
    _delete_others(folder, path, keep_last)
    saved = _read(path)
    assert saved is not None, f"{path} was written whole"
    return saved


def part_file(rank: int, num_parts: int) -> str:
    """Return the name of the file with one rank's part of the optimizer's state."""
    return f"optimizer-{rank}-of-{num_parts}.pt"


def latest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None."""
    found = (_read(path) for path in sorted(folder.glob("step-*"), reverse=True) if ".partial" not in path.name)
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def load_state(checkpoint: Checkpoint, rank: int) -> dict[str, Any]:
    """Return a checkpoint's training state, with the part of the optimizer's that is this rank's as `optimizer`."""
    state: dict[str, Any] = _read_state(checkpoint.folder / STATE_FILE)
    if checkpoint.num_parts:
        state["optimizer"] = _read_state(checkpoint.folder / part_file(rank, checkpoint.num_parts))
    return state


def write_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Write named tensors to a safetensors file, whole or not at all."""
    with atomic_path(file) as partial:
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, partial)


@torch.no_grad()
def load_weights(file: Path, model: nn.Module) -> None:
    """Give a model every tensor of a weights file; names and shapes must agree exactly.

    A weight of another type than the file's takes over the file's, so that nothing is rounded. What is equal already is
    left alone: frozen weights stay in the mapped pages of the file that they were published in.
    """
    found, wanted = read_tensors(file), tied_once(model)
    for name, tensor in wanted.items():
        if name not in found:
            raise UserError(f"no tensor {name!r} in the checkpoint", where=file, wanted=list(tensor.shape), fix=_FIX)
        if found[name].shape != tensor.shape:
            shapes = list(found[name].shape), list(tensor.shape)
            raise UserError(
                f"tensor {name!r} has another shape", where=file, found=shapes[0], wanted=shapes[1], fix=_FIX
            )
    for name, tensor in found.items():
        if name not in wanted:
            raise UserError(f"the model has no tensor {name!r}", where=file, found=list(tensor.shape), fix=_FIX)
        _take_over(wanted[name], tensor)


_FIX = "The checkpoint belongs to a model of another shape; give the config it was trained with."


def _take_over(weight: Tensor, saved: Tensor) -> None:
    if weight.dtype != saved.dtype:
        weight.data = saved.to(weight.device)
    elif weight.device != saved.device or not torch.equal(weight, saved):
        weight.copy_(saved)


def tied_once(model: nn.Module) -> dict[str, Tensor]:
    """Return name -> parameter or persistent buffer, tied ones by their first name: safetensors stores no aliases."""
    named, seen = {}, set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            named[name] = tensor
    return named


def _file_names(num_parts: int) -> list[str]:
    return [MODEL_FILE, STATE_FILE, *(part_file(rank, num_parts) for rank in range(num_parts))]


def _read_state(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _delete_others(folder: Path, newest: Path, keep_last: int) -> None:
    """Keep the newest and those before it; what lies beyond is damaged, or training would have resumed from there."""
    remove_partials(folder)
    steps = sorted(folder.glob("step-*"))
    kept = [step for step in steps if step <= newest][-keep_last:]
    for old in set(steps) - set(kept):
        # The manifest goes first, so that a half-deleted checkpoint is never taken for a whole one.
        (old / MANIFEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def _read(folder: Path) -> Checkpoint | None:
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        if any((folder / name).stat().st_size != facts["bytes"] for name, facts in manifest["files"].items()):
            return None
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return Checkpoint(
        folder=folder,
        update=manifest["update"],
        data_fingerprint=manifest["data_fingerprint"],
        model_sha256=manifest["files"][MODEL_FILE]["sha256"],
        num_parts=manifest["num_parts"],
    )
