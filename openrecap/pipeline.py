"""From an experiment's declared runs to the jobs that make them.

Jobs are listed in the order of priority: what others wait for comes first; the runner starts whatever is ready.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.registry import Experiments, RunEntry
from openrecap.folders import Folders
from openrecap.jobs import Job, check

CAPTIONS_IN_DATA = {"oracle": "web_oracle", "paraphrase": "web_paraphrase"}
"""Caption sets that come with the miniature web; every other set is a folder below `recaption/`."""

CLEAN_ORIGINALS = "web_clean"
"""Sidecar that replaces the alt-text in knockout K1."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every job builder needs: folders, configs and the preset's name."""

    experiments: Experiments
    at: Folders
    configs: Path

    def config(self, folder: str, prefix: str = "") -> Path:
        """Return the preset's config file of a stage."""
        return self.configs / folder / f"{prefix}{self.experiments.preset}.yaml"


def build(experiments: Experiments, root: Path, configs: Path = Path("configs")) -> list[Job]:
    """Return every job of the preset, each after those it needs; raise `UserError` on a design that can't run."""
    context = Context(experiments=experiments, at=Folders(root=root), configs=configs)
    builders: dict[str, Callable[[Context, RunEntry], Iterator[Job]]] = {
        "foundation": _foundation,
        "captioner": _captioner,
        "recaption": _recaption,
        "clip": _clip,
        "dit": _dit,
    }
    jobs = [_data(context), _judges(context)]
    for entry in experiments.runs:
        jobs.extend(builders[entry.stage](context, entry))
    jobs.extend(_closing(context, tuple(job.name for job in jobs if job.stage == "eval")))
    check(jobs)
    return jobs


def _data(context: Context) -> Job:
    config = context.config("miniweb")
    return Job(
        name="data",
        stage="data",
        arguments=_arguments("miniweb", config=config, output_dir=context.at.data, processes=2),
        output=context.at.data,
        config_files=(config,),
        threads=2,
    )


def _judges(context: Context) -> Job:
    config = context.config("eval")
    return Job(
        name="eval/judges",
        stage="eval",
        arguments=_arguments("eval judges", config=config, miniweb=context.at.data, output_dir=context.at.judges),
        output=context.at.judges,
        needs=("data",),
        config_files=(config,),
    )


def _foundation(context: Context, entry: RunEntry) -> Iterator[Job]:
    config = context.config("clip", "foundation_")
    flags = {"config": config, "output_dir": context.at.foundation, "seed": entry.seed}
    yield Job(
        name="foundation",
        stage="foundation",
        arguments=_arguments("clip_train", **flags, **{"data.shards": context.at.data / "foundation"}),
        output=context.at.foundation,
        needs=("data",),
        config_files=(config,),
    )


def _captioner(context: Context, entry: RunEntry) -> Iterator[Job]:
    config = context.config("llava")
    folder = context.at.run("captioner", entry.name)
    flags = {"config": config, "output_dir": folder, "seed": entry.seed, "data": context.at.data / "captioner"}
    yield Job(
        name=f"captioner/{entry.name}",
        stage="captioner",
        arguments=_arguments("llava_train", **flags, vision_tower=context.at.foundation / "export" / "hf"),
        output=folder,
        needs=("data", "foundation"),
        config_files=(config,),
        threads=2,
    )


def _recaption(context: Context, entry: RunEntry) -> Iterator[Job]:
    if entry.recipe == "shuffle":
        yield _shuffle(context, entry)
        return
    config = context.config("recaption")
    folder = context.at.run("recaption", entry.name)
    model = context.at.run("captioner", entry.model) / "export"
    flags = {"config": config, "shards": context.at.data / entry.captions, "model": model, "output_dir": folder}
    yield Job(
        name=f"recaption/{entry.name}",
        stage="recaption",
        arguments=_arguments("recaption run", **flags, workers=2),
        output=folder,
        needs=("data", f"captioner/{entry.model}"),
        config_files=(config,),
        threads=2,
    )


def _shuffle(context: Context, entry: RunEntry) -> Job:
    """Permute finished recaptions over the images (knockout K3)."""
    folder = context.at.run("recaption", entry.name)
    flags = {"sidecar": context.at.run("recaption", entry.captions), "output_dir": folder, "seed": entry.seed}
    return Job(
        name=f"recaption/{entry.name}",
        stage="recaption",
        arguments=_arguments("imagetext shuffle-sidecar", **flags),
        output=folder,
        needs=(f"recaption/{entry.captions}",),
    )


def _clip(context: Context, entry: RunEntry) -> Iterator[Job]:
    yield from _trained_and_evaluated(context, entry, "clip_train", {}, ())


def _dit(context: Context, entry: RunEntry) -> Iterator[Job]:
    text_encoder = {"text_encoder": context.at.foundation / "export" / "hf"}
    yield from _trained_and_evaluated(context, entry, "dit_train", text_encoder, ("foundation", "eval/judges"))


def _trained_and_evaluated(
    context: Context, entry: RunEntry, module: str, flags: Mapping[str, object], needs: tuple[str, ...]
) -> Iterator[Job]:
    """Yield the training run of one caption mix and its evaluation."""
    config = context.config(entry.stage)
    folder = context.at.run(entry.stage, entry.name)
    captions, captioner = _captions(context, entry)
    training = {
        "config": config,
        "output_dir": folder,
        "seed": entry.seed,
        "model": entry.model,
        "mix.original_share": entry.original_share,
        "mix.others": f"{{{entry.recipe}: 1.0}}",
        "data.shards": context.at.data / "web",
        "data.sidecars.recaption": captions,
        **({"data.sidecars.original": context.at.data / CLEAN_ORIGINALS} if entry.knockout == "K1" else {}),
        **flags,
    }
    name = entry.qualified_name
    yield Job(
        name=name,
        stage=entry.stage,
        arguments=_arguments(module, **training),
        output=folder,
        needs=("data", *needs, *captioner),
        config_files=(config,),
    )
    yield _evaluation(context, entry, name)


def _captions(context: Context, entry: RunEntry) -> tuple[Path, tuple[str, ...]]:
    """Return the sidecar folder a mix draws its new captions from, and the job that writes it."""
    if entry.captions in CAPTIONS_IN_DATA:
        return context.at.data / CAPTIONS_IN_DATA[entry.captions], ()
    return context.at.run("recaption", entry.captions), (f"recaption/{entry.captions}",)


def _evaluation(context: Context, entry: RunEntry, trained: str) -> Job:
    config = context.config("eval")
    folder = context.at.evaluation(entry.stage, entry.name)
    flags = {
        "config": config,
        "run": context.at.run(entry.stage, entry.name),
        "miniweb": context.at.data,
        "output_dir": folder,
    }
    suite = {"clip": "clip", "dit": "images"}[entry.stage]
    return Job(
        name=f"eval/{trained}",
        stage="eval",
        arguments=_arguments(f"eval {suite}", **flags),
        output=folder,
        needs=(trained,),
        config_files=(config,),
    )


def _closing(context: Context, evaluated: tuple[str, ...]) -> Iterator[Job]:
    config = context.config("experiments")
    root = context.at.root
    for name, stage, output in (
        ("results", "tables", context.at.results),
        ("tables", "tables", root / "tables.md"),
        ("report", "report", root / "report" / "index.html"),
    ):
        needs = evaluated if name == "results" else ("results",)
        verb = "collect" if name == "results" else name
        yield Job(
            name=name,
            stage=stage,
            arguments=_arguments(f"eval {verb}", experiments=config, root=root),
            output=output,
            needs=needs,
            config_files=(config,),
        )


def _arguments(module: str, **flags: object) -> tuple[str, ...]:
    """Spell `-m module verb --flag value ...`."""
    spelled = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    return ("-m", *module.split(), *spelled)
