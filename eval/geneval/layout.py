"""Drawn pictures laid out as GenEval reads them: `00000/metadata.jsonl` and `00000/samples/0000.png`."""

import json
from collections.abc import Sequence
from pathlib import Path

from dit_train.samples import read_manifest
from eval.config import GenEvalFolderConfig
from eval.geneval.prompts import GenEvalPrompt, read_prompts
from runtime.atomic import write_bytes, write_text
from runtime.errors import UserError


def lay_out(config: GenEvalFolderConfig) -> None:
    """Write a folder for each prompt; raises UserError where pictures belong to other prompts or are not all there."""
    prompts = read_prompts(config.prompts)
    pictures = _by_prompt(config.pictures, prompts)
    for prompt, files in zip(prompts, pictures, strict=True):
        folder = config.output_dir / f"{prompt.index:05}"
        for number, file in enumerate(files):
            write_bytes(folder / "samples" / f"{number:04}.png", file.read_bytes())
        # Last: GenEval reads no folder without it.
        write_text(folder / "metadata.jsonl", json.dumps(dict(prompt.record)))
    print(f"{config.output_dir}: {len(prompts)} prompts, {sum(map(len, pictures))} pictures")


def _by_prompt(folder: Path, prompts: Sequence[GenEvalPrompt]) -> list[list[Path]]:
    found: list[dict[int, Path]] = [{} for _ in prompts]
    for row in read_manifest(folder):
        index, where = str(row["prompt_id"]), f"{folder}: {row['file']}"
        if not index.isdigit() or int(index) >= len(prompts) or row["prompt"] != prompts[int(index)].text:
            fix = "Draw them by dit_train.sample --prompts evaluation_metadata.jsonl"
            raise UserError("a picture of another prompt", where=where, found=row["prompt"], fix=fix)
        found[int(index)][int(row["number"])] = Path(row["path"])
    numbers = {len(pictures) for pictures in found}
    if len(numbers) > 1:
        fewest = min(range(len(found)), key=lambda index: len(found[index]))
        wanted = f"{max(numbers)} as of others"
        raise UserError(
            "prompts with unlike numbers of pictures",
            where=folder,
            found=f"{len(found[fewest])} of {prompts[fewest].text!r}",
            wanted=wanted,
        )
    return [[pictures[number] for number in sorted(pictures)] for pictures in found]
