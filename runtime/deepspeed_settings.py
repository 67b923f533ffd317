"""DeepSpeed's settings: a JSON file of its own fields, and what the training loop's config says already."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.loop_config import LoopConfig

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "deepspeed"
"""The settings that are taken when no file is named: `zero2.json`, `zero3.json`."""

_AUTO = "auto"
"""What transformers' trainer fills in; here it stands for a value that is not given."""
_OURS = {
    "optimizer": "learning_rate, beta1, beta2, epsilon and weight_decay",
    "scheduler": "schedule and warmup_updates",
    "torch_autocast": "precision",
    "amp": "precision",
    "fp16": "precision",
}
"""Sections of DeepSpeed's that the loop's fields take the place of."""


def read_settings(config: LoopConfig, world_size: int) -> dict[str, Any]:
    """Return DeepSpeed's settings for a run on `world_size` ranks, batch sizes, clipping and precision filled in.

    Raises UserError naming file and field when the file contradicts the loop's config, takes over what belongs there,
    or leaves a value to be guessed.
    """
    path = config.deepspeed_config or FOLDER / f"{config.sharding}.json"
    settings = read_object(path, "zero_optimization")
    for section, fields in _OURS.items():
        if section in settings:
            raise UserError(f"{section!r} belongs elsewhere", where=path, found=section, wanted=f"{fields} of the loop")
    for name, value in _filled_in(config, world_size).items():
        _fill(settings, name, value, path)
    left = next((name for name, value in _leaves(settings) if value == _AUTO), None)
    if left is not None:
        raise UserError(f"nothing fills in {left!r}", where=path, found=_AUTO, wanted="a value, or no such field")
    return settings


def _filled_in(config: LoopConfig, world_size: int) -> dict[str, Any]:
    share = config.batch_size // world_size
    microbatch_size = config.microbatch_size or share
    is_bf16 = config.precision == "bf16"
    return {
        "zero_optimization.stage": {"zero2": 2, "zero3": 3}[config.sharding],
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": microbatch_size,
        "gradient_accumulation_steps": share // microbatch_size,
        "gradient_clipping": config.max_grad_norm or 0.0,
        "bf16.enabled": is_bf16,
        # A step whose gradient is not finite is skipped, which the loop then refuses.
        **({"bf16.check_grad_overflow": True} if is_bf16 else {}),
    }


def _fill(settings: dict[str, Any], name: str, value: object, path: Path) -> None:
    *sections, field = name.split(".")
    place = settings
    for section in sections:
        place = place.setdefault(section, {})
    if place.get(field, _AUTO) not in (_AUTO, value):
        fix = f"Leave {name} out of the file: the loop's config says it"
        raise UserError(f"{name} contradicts the loop's config", where=path, found=place[field], wanted=value, fix=fix)
    place[field] = value


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
