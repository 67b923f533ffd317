"""Pictures drawn from a file of prompts: PNG files, a contact sheet, and a manifest that comes last.

images/<id>.png            one per prompt (<id>-<number>.png where there are several)
contact_sheet.png          the first of them
manifest.jsonl             last: a row per picture with prompt, seed, sampler, steps, guidance, checkpoint
claim/settings.json        what the folder was begun with
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dit_train.contact_sheet import contact_sheet
from dit_train.sample_config import SampleConfig
from dit_train.sampler import Sampler, SamplingConfig, load_sampler
from imagetext import files
from imagetext.json_records import stream_records
from runtime.atomic import make_folder, remove_partials, write_bytes, write_json, write_text
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.progress import Progress
from runtime.seeds import torch_generator

MANIFEST_FILE = "manifest.jsonl"
CONTACT_SHEET_FILE = "contact_sheet.png"
CLAIM_FILE = "claim/settings.json"
IMAGES_FOLDER = "images"
PICTURES_ON_SHEET = 48
WEIGHTS_FILE = Path("transformer") / "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class _Picture:
    """One picture to draw."""

    prompt_id: str
    prompt: str
    number: int
    file: str

    @property
    def noise_id(self) -> str:
        """What stands for this picture in the seed of its noise."""
        return self.prompt_id if self.number == 0 else f"{self.prompt_id}#{self.number}"


def draw_samples(config: SampleConfig) -> int:
    """Draw what is not drawn yet, then write contact sheet and manifest; return how many were drawn.

    Raises UserError for prompts that can't be read, a pipeline that is none, a folder begun with other settings.
    """
    torch.set_num_threads(config.threads)
    pictures = _pictures(config)
    sampler = load_sampler(config.pipeline, device=config.device)
    settings = _settings(config, sampler)
    _claim(config.out, settings)
    images = make_folder(config.out / IMAGES_FOLDER)
    remove_partials(images)
    left = [picture for picture in pictures if not (images / picture.file).exists()]
    how = replace(config.sampling, fixed_shapes=True)
    with Progress(
        total=len(pictures), initial=len(pictures) - len(left), unit="images", label=config.out.name
    ) as progress:
        for start in range(0, len(left), how.batch_size):
            batch = left[start : start + how.batch_size]
            for picture, pixels in zip(batch, _draw(sampler, batch, how, config.seed), strict=True):
                write_bytes(images / picture.file, _png(pixels))
                progress.advance()
            progress.show({})
    _write_sheet(config.out, pictures)
    rows = ({**asdict(picture), **settings["each"]} for picture in pictures)
    write_text(config.out / MANIFEST_FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(left)


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Return a finished folder's rows, each with the `path` of its picture.

    Raises UserError when the manifest or a picture is missing: what is judged should be all that was asked for.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UserError("pictures are not all drawn", where=path, found="no manifest", fix="Run dit_train.sample again")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["path"] = folder / IMAGES_FOLDER / row["file"]
        if not row["path"].is_file():
            fix = "Run dit_train.sample again: it draws what is missing"
            raise UserError("a picture is missing", where=row["path"], found="no such file", fix=fix)
    return rows


def _pictures(config: SampleConfig) -> list[_Picture]:
    several = config.images_per_prompt > 1
    pictures = [
        _Picture(prompt_id, prompt, number, f"{prompt_id}-{number}.png" if several else f"{prompt_id}.png")
        for prompt_id, prompt in _prompts(config.prompts)
        for number in range(config.images_per_prompt)
    ]
    if not pictures:
        raise UserError("no prompts", where=config.prompts, found="an empty file", wanted="a prompt a line")
    return pictures


def _prompts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ids and prompts; raise UserError for a row without a prompt, or an id that is no file name or not alone."""
    if not path.is_file():
        raise UserError("no prompts", where=path, found="no such file", wanted="a text file, or .jsonl")
    if path.suffix != ".jsonl":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            yield f"{number:05d}", line.strip()
        return
    seen: set[str] = set()
    for number, placed in enumerate(stream_records(path)):
        record = placed.value if isinstance(placed.value, dict) else {}
        prompt, prompt_id = record.get("prompt"), str(record.get("id", record.get("key", f"{number:05d}")))
        where = f"{path}, record {number}"
        if not isinstance(prompt, str):
            raise UserError("no prompt", where=where, found=sorted(record), wanted='an object with a text as "prompt"')
        if prompt_id in seen or not prompt_id or Path(prompt_id).name != prompt_id:
            raise UserError("no id for a picture", where=where, found=prompt_id, wanted="a file name of its own")
        seen.add(prompt_id)
        yield prompt_id, prompt


def _settings(config: SampleConfig, sampler: Sampler) -> dict[str, Any]:
    """Return what decides on the pictures: of each picture, and of them all."""
    sampling = config.sampling
    each = {
        "seed": config.seed,
        "sampler": sampling.solver or sampler.default_solver,
        "steps": sampling.num_steps,
        "guidance": sampling.guidance,
        "guidance_levels": list(sampling.guidance_levels),
        "precision": sampling.precision,
        "image_size_px": sampler.image_size_px,
        "checkpoint_sha256": files.sha256(config.pipeline / WEIGHTS_FILE),
    }
    whole = {"prompts_sha256": files.sha256(config.prompts), "images_per_prompt": config.images_per_prompt}
    # Batches of another size round otherwise.
    return {"each": each, **whole, "batch_size": sampling.batch_size}


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Keep the settings a folder is begun with; refuse to go on with others."""
    path = out / CLAIM_FILE
    flat = {**settings["each"], **{name: value for name, value in settings.items() if name != "each"}}
    if path.exists():
        found = read_object(path)
        for name, wanted in flat.items():
            if found.get(name) != wanted:
                fix = "Choose another folder as `out`, or give the settings it was begun with"
                raise UserError(
                    f"pictures drawn otherwise: {name}", where=out, found=found.get(name), wanted=str(wanted), fix=fix
                )
    write_json(path, flat)


def _draw(
    sampler: Sampler, batch: Sequence[_Picture], how: SamplingConfig, seed: int
) -> UInt8[Tensor, "picture height width channel"]:
    generators = [torch_generator(seed, "sample", picture.noise_id) for picture in batch]
    return sampler.draw([picture.prompt for picture in batch], generators, how)


def _png(pixels: UInt8[Tensor, "height width channel"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def _write_sheet(out: Path, pictures: Sequence[_Picture]) -> None:
    shown = [
        (Image.open(out / IMAGES_FOLDER / picture.file), picture.prompt) for picture in pictures[:PICTURES_ON_SHEET]
    ]
    buffer = io.BytesIO()
    contact_sheet(shown).save(buffer, "PNG")
    write_bytes(out / CONTACT_SHEET_FILE, buffer.getvalue())
