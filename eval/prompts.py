"""Prompts for generated images, with the scene each was written for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.truth import read_true_samples
from imagetext.sidecars import read_sidecar
from miniweb import annotator, grammar
from miniweb.claims import parse
from miniweb.scene import Scene
from runtime import seeds
from runtime.errors import UserError
from runtime.json_files import parse_object

DEVELOPMENT_STYLES = ("alt-text", "short", "recaption")
PROMPT_SETS = ("raw", "recap", "recombined", "longer")


@dataclass(frozen=True)
class Prompt:
    """One prompt: its key, its text, and the scene it tells of."""

    key: str
    text: str
    scene: Scene
    style: str = ""
    """Manner of a development prompt, one of DEVELOPMENT_STYLES."""


def read_prompts(miniweb: Path, recaptions: Mapping[str, Path], name: str, limit: int) -> list[Prompt]:
    """Read a prompt set; `recap` is the trained captioner's captions of held-out images."""
    if name == "recap":
        return _recaptioned(miniweb / "prompts" / "images", recaptions.get("prompts"), limit)
    path = miniweb / "prompts" / f"{name}.jsonl"
    if not path.exists():
        raise UserError("no such prompts", where=str(path), fix="Build the data again")
    lines = path.read_text().splitlines()[:limit]
    records = [parse_object(line, f"{path}:{row}", "key", "prompt", "scene") for row, line in enumerate(lines, start=1)]
    return [Prompt(record["key"], record["prompt"], Scene.from_json(record["scene"])) for record in records]


def development_prompts(miniweb: Path, limit: int) -> list[Prompt]:
    """Write prompts for development scenes, in turn as alt-text, in people's short words, and as a perfect captioner.

    Every mix of training captions meets a manner of speaking that it knows; alt-text that claims nothing is left out.
    """
    prompts = []
    for index, sample in enumerate(read_true_samples(miniweb / "development", limit)):
        style = DEVELOPMENT_STYLES[index % len(DEVELOPMENT_STYLES)]
        generator = seeds.numpy_generator("development prompt", sample.key)
        if style == "alt-text":
            text = sample.original
        else:
            write = annotator.caption if style == "short" else grammar.describe
            text = write(sample.scene, generator)
        if parse(text).claims:
            prompts.append(Prompt(sample.key, text, sample.scene, style))
    return prompts


def _recaptioned(images: Path, sidecar: Path | None, limit: int) -> list[Prompt]:
    if sidecar is None:
        raise UserError(
            "no recaptioned prompts", where="recaptions.prompts", fix="Recaption prompts/images and pass its folder"
        )
    samples = read_true_samples(images, limit)
    captions = {shard: read_sidecar(sidecar, shard) for shard in dict.fromkeys(each.shard for each in samples)}
    prompts = []
    for sample in samples:
        row = captions[sample.shard].get(sample.key)
        if row is not None and row.caption:
            prompts.append(Prompt(sample.key, row.caption, sample.scene))
    if not prompts:
        raise UserError("no prompt got a caption", where=str(sidecar), found=f"0 of {len(samples)}")
    return prompts
