"""MMMU and MM-Vet as lmms-eval measured them: its result file and the samples it logged, read back into measurements.

lmms-eval writes `<output_path>/<model>/<date>_results.json` and, with `--log_samples`, `<date>_samples_<task>.jsonl`
beside it. A score is taken over only where the logged samples add up to it, and gets its interval from them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.lmms_scores import mmmu_point, mmvet_point
from eval.outcomes import Ratio, ratio
from eval.suite import Measurement, measure
from runtime.errors import UserError
from runtime.json_files import parse_object, read_object

_RESULTS_SUFFIX = "_results.json"
_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How a task of lmms-eval becomes one of our metrics."""

    metric: str
    """Our name for it."""
    score_key: str
    """Under this key the result file has the score."""
    scale: float
    """What the score is out of."""
    sample_key: str
    """Under this key a logged sample has what was scored."""
    point: Callable[[Mapping[str, Any]], float]
    """From what was scored to the sample's point in [0, 1]."""
    digits: int
    """Decimal places, of a share, to which samples and score agree: lmms-eval rounds MMMU to five."""


BENCHMARKS = {
    "mmmu_val": Benchmark(
        metric="mmmu_val/accuracy",
        score_key="mmmu_acc,none",
        scale=1.0,
        sample_key="mmmu_acc",
        point=mmmu_point,
        digits=5,
    ),
    "mmvet": Benchmark(
        metric="mmvet/gpt_score",
        score_key="gpt_eval_score,none",
        scale=_PERCENT,
        sample_key="gpt_eval_score",
        point=mmvet_point,
        digits=6,
    ),
}
"""By the task's name in lmms-eval."""


@dataclass(frozen=True, kw_only=True)
class LmmsResults:
    """One result file."""

    path: Path
    document: Mapping[str, Any]

    @property
    def tasks(self) -> list[str]:
        """Return the tasks in it that have a place in Table 1."""
        return [task for task in BENCHMARKS if task in self.document["results"]]

    @property
    def model(self) -> str:
        """Return what lmms-eval loaded: a folder, or a name on the Hub."""
        return str(self.document.get("model_name", ""))

    def samples_path(self, task: str) -> Path:
        """Return where the samples of a task were logged."""
        stem = self.path.name.removesuffix(_RESULTS_SUFFIX)
        return self.path.with_name(f"{stem}_samples_{task}.jsonl")

    def files(self) -> list[Path]:
        """Return the result file and the logged samples of every task of ours."""
        return [self.path, *(self.samples_path(task) for task in self.tasks)]

    def sha256(self) -> str:
        """Return a digest of all files that are read."""
        digest = hashlib.sha256()
        for path in self.files():
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def data_fingerprint(self) -> str:
        """Return a digest of the tasks' questions, as lmms-eval hashed them."""
        hashes = self.document["task_hashes"]
        return hashlib.sha256(json.dumps({task: hashes[task] for task in self.tasks}).encode()).hexdigest()[:16]


def read_lmms(path: Path) -> LmmsResults:
    """Read a result file; raises UserError when it is none, has no benchmark of ours, or no logged samples."""
    if not path.name.endswith(_RESULTS_SUFFIX):
        raise UserError("not a result file of lmms-eval", where=path, found=path.name, wanted=f"*{_RESULTS_SUFFIX}")
    if not path.is_file():
        raise UserError("no result file here", where=path, found="no such file")
    results = LmmsResults(path=path, document=read_object(path, "results", "n-samples", "n-shot", "task_hashes"))
    if not results.tasks:
        found = ", ".join(sorted(results.document["results"])) or "none"
        raise UserError("no task of Table 1 in it", where=path, found=found, wanted=" or ".join(BENCHMARKS))
    for task in results.tasks:
        if not results.samples_path(task).is_file():
            fix = "Run lmms-eval with --log_samples, and keep the files together"
            raise UserError(f"no logged samples of {task}", where=results.samples_path(task), found="no file", fix=fix)
    return results


def require_loaded(results: LmmsResults, export: Path, loaded_as: str | None) -> None:
    """Raise UserError unless lmms-eval loaded a run's published folder, or what the user says is the same.

    On another machine it lies elsewhere: then `<stage>/<name>/export` at the path's end tells it.
    """
    wanted = str(export) if loaded_as is None else loaded_as
    if results.model == wanted or (loaded_as is None and _same_folder(Path(results.model), export)):
        return
    raise UserError(
        "another model was measured",
        where=results.path,
        found=results.model,
        wanted=wanted,
        fix="Give the run that was measured, or say with --loaded_as that this is a copy of it",
    )


def _same_folder(measured: Path, export: Path) -> bool:
    if measured.exists():
        return measured.resolve() == export.resolve()
    return measured.parts[-3:] == export.resolve().parts[-3:]


def measurements(results: LmmsResults, replicates: int) -> Iterator[Measurement]:
    """Yield a measurement for each task, its interval over questions.

    Raises UserError when questions were left out, or the logged samples do not add up to the score.
    """
    for task in results.tasks:
        benchmark = BENCHMARKS[task]
        scored = _read_samples(results.samples_path(task), benchmark.sample_key)
        outcome = ratio({question: (benchmark.point(sample), 1.0) for question, sample in scored.items()})
        _refuse_partial(results, task, outcome)
        _refuse_other_score(results, task, outcome)
        yield measure(benchmark.metric, outcome, _protocol(results, task, scored), replicates)


def _read_samples(path: Path, key: str) -> dict[str, Mapping[str, Any]]:
    """Return what was scored, by the number of the question."""
    scored: dict[str, Mapping[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        sample = parse_object(line, f"{path}:{number}", "doc_id", key)
        if not isinstance(sample[key], dict):
            raise UserError("not a logged sample", where=f"{path}:{number}", found=sample[key], wanted="an object")
        scored[str(sample["doc_id"])] = sample[key]
    return scored


def _refuse_partial(results: LmmsResults, task: str, outcome: Ratio) -> None:
    asked = results.document["n-samples"][task]
    if outcome.count == asked["effective"] == asked["original"]:
        return
    found = f"{outcome.count} logged, {asked['effective']} asked"
    fix = "Run lmms-eval without --limit, into an empty folder"
    wanted = f"all {asked['original']} questions"
    raise UserError(f"{task} was measured in part", where=results.path, found=found, wanted=wanted, fix=fix)


def _refuse_other_score(results: LmmsResults, task: str, outcome: Ratio) -> None:
    benchmark = BENCHMARKS[task]
    said = results.document["results"][task].get(benchmark.score_key)
    if isinstance(said, (int, float)) and round(abs(said / benchmark.scale - outcome.value), benchmark.digits) == 0:
        return
    wanted = f"{outcome.value * benchmark.scale:.{benchmark.digits}f}, what the logged samples add up to"
    fix = "The files belong to different runs, or another version of lmms-eval scores otherwise"
    raise UserError(f"another score of {task}", where=results.path, found=said, wanted=wanted, fix=fix)


def _protocol(results: LmmsResults, task: str, scored: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how the task was measured; scores of unlike judges, prompts or versions are unlike."""
    document = results.document
    version = document.get("lmms_eval_version") or document.get("git_hash") or "of an unknown version"
    config = document.get("configs", {}).get(task, {})
    limits = config.get("generation_kwargs", {})
    shown = ", ".join(
        f"{name} {limits[name]}" for name in ("max_new_tokens", "do_sample", "temperature") if name in limits
    )
    judges = sorted({str(sample["eval_model"]) for sample in scored.values() if "eval_model" in sample})
    judged = f"; judged by {' and '.join(judges)}" if judges else ""
    loader = document.get("config", {}).get("model", "an unknown model class")
    return f"lmms-eval {version}, {task}, {document['n-shot'][task]}-shot, {shown}; loaded as {loader}{judged}"
