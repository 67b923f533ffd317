"""Jobs that make things: the data, the foundation, captioners, recaptions, CLIP models, diffusion transformers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from eval.modes import MODES, MODES_RECIPE
from eval.registry import RunEntry
from imagetext.sidecars import RECAPTION_COLUMN
from openrecap.context import Context, spell
from openrecap.jobs import Job
from runtime.yaml_files import read_mapping

CAPTIONS_IN_DATA = {"oracle": "web_oracle", "paraphrase": "web_paraphrase"}
"""Caption sets that come with the miniature web; every other set is a folder below `recaption/`."""

DETAILED_CAPTIONS = "detail.json"
"""The captioner's detailed captions, for which knockout K2 has others."""

CLEAN_ORIGINALS = "web_clean"
"""Sidecar that replaces the alt-text in knockout K1."""


def data(context: Context) -> Job:
    """Draw the miniature web."""
    config = context.config("miniweb")
    return Job(
        name="data",
        stage="data",
        arguments=spell("miniweb", config=config, output_dir=context.at.data, processes=2),
        output=context.at.data,
        config_files=(config,),
        threads=2,
    )


def foundation(context: Context, entry: RunEntry) -> Job:
    """Train the CLIP that captioner and diffusion transformers start from; its tokenizer knows all arms' words."""
    config = context.config("clip", "foundation_")
    flags = {"config": config, "output_dir": context.at.foundation, "seed": entry.seed}
    return Job(
        name="foundation",
        stage="foundation",
        arguments=spell(
            "clip_train", **flags, **{"data.shards": context.at.data / "foundation"}, **_tokenizer_data(context)
        ),
        output=context.at.foundation,
        needs=("data",),
        config_files=(config,),
    )


def captioner(context: Context, entry: RunEntry) -> Job:
    """Fine-tune a captioner; one with other detailed captions for knockout K2."""
    config = context.config("llava")
    folder = context.at.run("captioner", entry.name)
    flags: dict[str, object] = {
        "config": config,
        "output_dir": folder,
        "seed": entry.seed,
        "data": context.at.data / "captioner",
        "vision_tower": context.at.foundation / "export" / "hf",
    }
    if entry.captions != RunEntry.captions:
        flags |= dict(_other_captions(config, entry.captions))
    return Job(
        name=f"captioner/{entry.name}",
        stage="captioner",
        arguments=spell("llava_train", **flags),
        output=folder,
        needs=("data", "foundation"),
        config_files=(config,),
    )


def _other_captions(config: Path, captions: str) -> Iterator[tuple[str, str]]:
    """Yield, for each phase that reads the detailed captions, its files with `captions` in their place."""
    for name, phase in read_mapping(config, "config file").items():
        files = phase.get("conversations", []) if isinstance(phase, dict) else []
        if DETAILED_CAPTIONS in files:
            others = [f"{captions}.json" if file == DETAILED_CAPTIONS else file for file in files]
            yield f"{name}.conversations", f"[{', '.join(others)}]"


def recaption(context: Context, entry: RunEntry) -> Job:
    """Caption one set of images, in all modes that know the alt-text where the recipe says so; or permute finished
    captions over their images (knockout K3)."""
    if entry.recipe == "shuffle":
        return _shuffled(context, entry)
    config = context.config("recaption")
    folder = context.at.run("recaption", entry.name)
    model = context.at.run("captioner", entry.model) / "export"
    asked = _mode_flags() if entry.recipe == MODES_RECIPE else {}
    flags = {"config": config, "shards": context.at.data / entry.captions, "model": model, "output_dir": folder}
    return Job(
        name=f"recaption/{entry.name}",
        stage="recaption",
        arguments=spell("recaption run", **flags, **asked, workers=2),
        output=folder,
        needs=("data", f"captioner/{entry.model}"),
        config_files=(config,),
        threads=2,
    )


def _mode_flags() -> dict[str, object]:
    """Return what asks for all modes in one pass. Nothing is asked again: what is measured is what was said first."""
    prompt, *more = MODES.values()
    endings = {mode.column.removeprefix(f"{RECAPTION_COLUMN}_"): mode.prompt for mode in more}
    return {"prompt": prompt.prompt, "more_prompts": json.dumps(endings), "repair.steps": "[]"}


def _shuffled(context: Context, entry: RunEntry) -> Job:
    folder = context.at.run("recaption", entry.name)
    flags = {"sidecar": context.at.run("recaption", entry.captions), "output_dir": folder, "seed": entry.seed}
    return Job(
        name=f"recaption/{entry.name}",
        stage="recaption",
        arguments=spell("imagetext shuffle-sidecar", **flags),
        output=folder,
        needs=(f"recaption/{entry.captions}",),
    )


def clip(context: Context, entry: RunEntry) -> Job:
    """Train a CLIP on one caption mix; all arms read with one tokenizer, as the paper's read with BERT's."""
    return _mixed(context, entry, "clip_train", _tokenizer_data(context), ())


def _tokenizer_data(context: Context) -> dict[str, object]:
    """Return the captions that tokenizers are trained on: alt-text and truth, the same for every run."""
    return {
        "tokenizer_data.shards": context.at.data / "web",
        "tokenizer_data.sidecars.recaption": context.at.data / CAPTIONS_IN_DATA["oracle"],
    }


def dit(context: Context, entry: RunEntry) -> Job:
    """Train a diffusion transformer on one caption mix."""
    text_encoder = {"text_encoder": context.at.foundation / "export" / "hf"}
    return _mixed(context, entry, "dit_train", text_encoder, ("foundation",))


def _mixed(context: Context, entry: RunEntry, module: str, flags: Mapping[str, object], needs: tuple[str, ...]) -> Job:
    config = context.config(entry.stage)
    folder = context.at.run(entry.stage, entry.name)
    mix, captioned = _mix(context, entry)
    return Job(
        name=entry.qualified_name,
        stage=entry.stage,
        arguments=spell(
            module,
            config=config,
            output_dir=folder,
            seed=entry.seed,
            model=entry.model,
            **{"data.shards": context.at.data / "web"},
            **mix,
            **flags,
        ),
        output=folder,
        needs=("data", *needs, *captioned),
        config_files=(config,),
    )


def _mix(context: Context, entry: RunEntry) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the flags of a caption mix and the job that writes its new captions; originals alone wait for none."""
    flags: dict[str, object] = {"mix.original_share": entry.original_share}
    if entry.knockout == "K1":
        flags["data.sidecars.original"] = context.at.data / CLEAN_ORIGINALS
    if entry.original_share == 1.0:
        return flags, ()
    folder, needs = _captions(context, entry.captions)
    return {**flags, "mix.others": f"{{{entry.recipe}: 1.0}}", "data.sidecars.recaption": folder}, needs


def _captions(context: Context, name: str) -> tuple[Path, tuple[str, ...]]:
    if name in CAPTIONS_IN_DATA:
        return context.at.data / CAPTIONS_IN_DATA[name], ()
    return context.at.run("recaption", name), (f"recaption/{name}",)
