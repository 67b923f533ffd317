"""GenEval's scores as measurements with intervals over prompts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from eval.bootstrap import Term, contrast_interval
from eval.geneval.prompts import PUBLISHED_COUNTS, TASKS, GenEvalPrompt
from eval.geneval.results import Judged, is_right_by_rules
from eval.outcomes import Ratio, ratio
from eval.suite import Measurement, measure


def measurements(
    prompts: Sequence[GenEvalPrompt], judged: Sequence[Judged], protocol: str, replicates: int
) -> Iterator[Measurement]:
    """Yield the share of right pictures by task, their unweighted mean (the published overall score), and of prompts.

    An item is a prompt with all its pictures; tasks are drawn apart.
    """
    by_task = {task: _outcome(prompts, judged, task) for task in TASKS}
    by_task = {task: outcome for task, outcome in by_task.items() if outcome.count}
    metrics = {f"geneval_{task}/pictures": outcome for task, outcome in by_task.items()}
    for metric, outcome in metrics.items():
        yield measure(metric, outcome, protocol, replicates)
    count = sum(outcome.count for outcome in by_task.values())
    overall = contrast_interval([Term(1.0, {0: metrics}, tuple(metrics))], replicates=replicates)
    yield Measurement(metric="geneval/overall", protocol=protocol, count=count, interval=overall)
    yield measure("geneval/prompts", _any_right(judged), protocol, replicates)


def protocol_of(prompts: Sequence[GenEvalPrompt], pictures_per_prompt: int, mode: str) -> str:
    """Say how pictures were judged; scores over other prompts are unlike."""
    counts = {task: sum(prompt.task == task for prompt in prompts) for task in TASKS}
    which = "the 553 published prompts" if counts == PUBLISHED_COUNTS else f"{len(prompts)} prompts, not the published"
    return f"GenEval, {which}, {pictures_per_prompt} pictures a prompt, {mode}; overall: unweighted mean of tasks"


def by_rules(prompts: Sequence[GenEvalPrompt], judged: Sequence[Judged]) -> list[Judged]:
    """Return the pictures judged anew from their boxes."""
    return [replace(one, is_right=is_right_by_rules(one, prompts[one.prompt])) for one in judged]


def _outcome(prompts: Sequence[GenEvalPrompt], judged: Sequence[Judged], task: str) -> Ratio:
    return ratio(_sums([one for one in judged if prompts[one.prompt].task == task]))


def _any_right(judged: Sequence[Judged]) -> Ratio:
    return ratio({name: (float(right > 0), 1.0) for name, (right, _) in _sums(judged).items()})


def _sums(judged: Sequence[Judged]) -> Mapping[str, tuple[float, float]]:
    """Return the right pictures and all pictures of each prompt."""
    sums: dict[str, tuple[float, float]] = {}
    for one in judged:
        right, total = sums.get(f"{one.prompt:05}", (0.0, 0.0))
        sums[f"{one.prompt:05}"] = (right + one.is_right, total + 1.0)
    return sums
