"""Jobs that measure: the judges, one evaluation a run, and what is made of all rows at the end."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from eval.modes import MODES_RECIPE
from eval.registry import RunEntry
from openrecap.context import Context, spell
from openrecap.jobs import Job
from runtime.errors import UserError

HELDOUT_CAPTIONS = ("web", "web_heldout", "captioner_heldout")
"""Recaptions whose statistics and claims are measured."""
MODES_CAPTIONS = ("web_heldout", MODES_RECIPE)
"""Recaptions that are held against each other: under the paper's prompt, and knowing the alt-text."""

SCORERS = {"clip": 1.0, "recap_clip": 0.8}
"""CLIP scores of generated images: name -> share of originals of the scoring CLIP's own training. The paper scores with
OpenAI's CLIP, trained on alt-text, and with its Recap-CLIP; neither conditions a generator."""


def judges(context: Context) -> Job:
    """Train the judges of generated images and measure their ceiling."""
    return _measuring(context, "judges", "eval/judges", context.at.judges, {}, ("data",))


def captioner(context: Context, entry: RunEntry) -> Iterator[Job]:
    """Measure a captioner: its answers about objects, its captions' claims, and its modes that know the alt-text."""
    trained = f"captioner/{entry.name}"
    run = {"run": context.at.run("captioner", entry.name)}
    folder = context.at.evaluation("captioner", entry.name)
    yield _measuring(context, "captioner", f"eval/{trained}", folder, run, (trained,))
    recaptions = context.experiments.select(stage="recaption", model=entry.name)
    written = {MODES_RECIPE if other.recipe == MODES_RECIPE else other.captions: other for other in recaptions}
    for suite, sets in (("captions", HELDOUT_CAPTIONS), ("modes", MODES_CAPTIONS)):
        if set(sets) <= set(written):
            sidecars = {f"recaptions.{name}": context.at.run("recaption", written[name].name) for name in sets}
            needs = (trained, *(written[name].qualified_name for name in sets))
            yield _measuring(context, suite, f"eval/{suite}/{entry.name}", folder, {**run, **sidecars}, needs)


def clip(context: Context, entry: RunEntry) -> Job:
    """Measure a CLIP on every benchmark."""
    run = {"run": context.at.run("clip", entry.name)}
    folder = context.at.evaluation("clip", entry.name)
    return _measuring(context, "clip", f"eval/{entry.qualified_name}", folder, run, (entry.qualified_name,))


def dit(context: Context, entry: RunEntry) -> Job:
    """Draw and judge the pictures of a diffusion transformer."""
    prompts = context.experiments.select(stage="recaption", captions="prompts/images")
    recaptioned = _first(context, prompts, "a recaption run of prompts/images")
    scorers = {name: _scorer(context, share) for name, share in SCORERS.items()}
    flags: dict[str, Path] = {
        "run": context.at.run("dit", entry.name),
        "recaptions.prompts": context.at.run("recaption", recaptioned.name),
        "judges": context.at.judges,
        "foundation": context.at.foundation / "export",
        **{f"scorers.{name}": context.at.run("clip", run.name) / "export" for name, run in scorers.items()},
    }
    needs = (
        entry.qualified_name,
        recaptioned.qualified_name,
        "eval/judges",
        *(run.qualified_name for run in scorers.values()),
    )
    folder = context.at.evaluation("dit", entry.name)
    return _measuring(context, "images", f"eval/{entry.qualified_name}", folder, flags, needs)


def closing(context: Context, evaluated: tuple[str, ...]) -> Iterator[Job]:
    """Gather all rows, print the tables, write the report."""
    config = context.config("experiments")
    findings = context.configs / "experiments" / "findings.yaml"
    root = context.at.root
    steps = (
        ("results", "collect", "tables", context.at.results, evaluated),
        ("tables", "tables", "tables", root / "tables.md", ("results",)),
        ("report", "report", "report", root / "report" / "index.html", ("results", "tables")),
    )
    for name, verb, stage, output, needs in steps:
        yield Job(
            name=name,
            stage=stage,
            arguments=spell(f"eval {verb}", experiments=config, findings=findings, root=root),
            output=output,
            needs=needs,
            config_files=(config, findings),
        )


def _scorer(context: Context, original_share: float) -> RunEntry:
    """Return the first run of the plain mix with that share, of the middle model."""
    runs = context.experiments.select(stage="clip", model="b_base", original_share=original_share, recipe="recaption")
    plain = [run for run in runs if run.knockout is None and run.captions != "oracle"]
    return _first(context, plain, f"a plain clip run of model b_base with original_share {original_share}")


def _first(context: Context, runs: Sequence[RunEntry], wanted: str) -> RunEntry:
    """Return the first of the runs that an evaluation of generated images may use; UserError when there is none."""
    if not runs:
        where = context.config("experiments")
        raise UserError("dit runs cannot be evaluated", where=where, found="no such run", wanted=wanted)
    return runs[0]


def _measuring(
    context: Context, suite: str, name: str, folder: Path, flags: dict[str, Path], needs: tuple[str, ...]
) -> Job:
    config = context.config("eval")
    return Job(
        name=name,
        stage="eval",
        arguments=spell(f"eval {suite}", config=config, miniweb=context.at.data, output_dir=folder, **flags),
        output=folder / suite,
        needs=needs,
        config_files=(config,),
    )
