"""What shapes the captions of a job, compared by everyone who wants to add to it.

`job/manifest.json` names every setting, version and digest that a caption may depend on, and the digest of them all;
each unit's mark repeats that digest. It names no unit: what a unit was made from stands in the unit's own mark, so that
the manifest of a billion rows is as short as that of ten.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from recaption.captioners.identity import identify_model
from recaption.config import PLACES_AND_WORKERS, RecaptionConfig
from recaption.job.image_policy import identify_image_policy
from recaption.prompts import identify_prompts
from runtime.atomic import write_json
from runtime.config import to_dict
from runtime.errors import UserError
from runtime.json_files import read_object

# img2dataset reads every JSON file at the root of a shard folder as a shard's stats, so ours lies one level deeper.
MANIFEST = Path("job") / "manifest.json"

_PACKAGES = {
    "transformers": ("torch", "transformers", "tokenizers", "pillow"),
    "vllm": ("vllm", "torch", "transformers", "tokenizers", "pillow"),
    "openai": ("pillow",),
}
"""Libraries that shape captions, by captioner: a server's own are not ours to see."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What all captions of a job have in common."""

    captioner_id: str
    """Identity of model and settings, as every row repeats it."""
    prompt_id: str
    """Identity of the prompt, as every row repeats it."""
    shaped_by: Mapping[str, Any]
    """Every setting, version and digest that captions depend on, by dotted name."""
    num_units: int
    """Units of the input at the last start."""

    @property
    def sha256(self) -> str:
        """Return the digest of all that shapes captions."""
        return hashlib.sha256(json.dumps(dict(self.shaped_by), sort_keys=True).encode()).hexdigest()


def describe_job(config: RecaptionConfig, captioner_id: str, num_units: int) -> Manifest:
    """Return the manifest of what this process would caption, with its own libraries and codecs."""
    shaped_by = {
        **dict(_flat(to_dict(config), PLACES_AND_WORKERS)),
        **{f"versions.{name}": _version(name) for name in _PACKAGES[config.captioner]},
        "image_policy": identify_image_policy(),
        "captioner_id": captioner_id,
    }
    if config.clip_score.model is not None:
        shaped_by["clip_scorer"] = identify_model(config.clip_score.model)
    prompt_id = identify_prompts(config)
    return Manifest(captioner_id=captioner_id, prompt_id=prompt_id, shaped_by=shaped_by, num_units=num_units)


def read_manifest(folder: Path) -> Manifest:
    """Read a job's manifest; raises UserError where there is no job."""
    path = folder / MANIFEST
    if not path.exists():
        raise UserError("no captioning job here", where=folder, found=f"no {MANIFEST}", fix="Check --output_dir.")
    keys = ("captioner_id", "prompt_id", "shaped_by", "num_units")
    said = read_object(path, *keys)
    return Manifest(**{key: said[key] for key in keys})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a job's manifest."""
    write_json(folder / MANIFEST, {"sha256": manifest.sha256, **vars(manifest)})


def join_job(config: RecaptionConfig, captioner_id: str) -> Manifest:
    """Return the manifest of the job that a worker is about to add to, with a captioner it has opened.

    Raises:
        UserError: naming the first thing that shapes captions and is another here than where the job was started, or
            for an output folder that this machine does not share.
    """
    found = read_manifest(config.output_dir)
    refuse_other(found, describe_job(config, captioner_id, found.num_units), config.output_dir)
    return found


def refuse_other(found: Manifest, wanted: Manifest, folder: Path) -> None:
    """Raise UserError where two manifests disagree: the captions of two captioners are never mixed in one folder."""
    there, here = found.shaped_by, wanted.shaped_by
    for name in [*here, *(name for name in there if name not in here)]:
        if there.get(name) != here.get(name):
            raise UserError(
                f"these captions are another captioner's, differing in {name!r}",
                where=folder,
                found=there.get(name, "nothing"),
                wanted=repr(here.get(name, "nothing")),
                fix=_FIXES.get(name.split(".")[0], "Choose another output_dir, or delete the folder to start again."),
            )


_FIXES = {
    "versions": "Install the version found, or choose another output_dir.",
    "image_policy": "Pictures are decoded to other pixels here: use the same codecs, or choose another output_dir.",
    "captioner_id": "The model's files differ: give the model found, or choose another output_dir.",
}


def _flat(values: Mapping[str, Any], excluded: tuple[str, ...], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        if dotted in excluded:
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, excluded, f"{dotted}.")
        else:
            yield dotted, value


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
