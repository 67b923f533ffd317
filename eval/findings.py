"""Verdicts on the declared contrasts, from the kept outcomes of every arm and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.bootstrap import Interval, Term, contrast_interval
from eval.contrasts import Declaration, DeclaredTerm, Finding, Test
from eval.curves import PlateauReport, judge_plateau, read_metrics, series
from eval.registry import Experiments, RunEntry
from eval.results import Results
from eval.runs import run_config
from runtime.errors import UserError

MIN_SEEDS = 2
"""A verdict needs at least this many training seeds."""

Standing = Literal["holds", "opposes", "open", "not run"]
Verdict = Literal["reproduced", "differs", "inconclusive", "undertrained", "one seed: no verdict", "not run"]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A contrast's estimate with its interval and standing."""

    test: Test
    standing: Standing
    interval: Interval | None
    seeds: tuple[int, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Level:
    """An arm's own value of a metric group, shown beside a finding."""

    arm: str
    metric: str
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A finding with everything the tables print."""

    finding: Finding
    verdict: Verdict
    underpowered: bool
    tests: tuple[Tested, ...]
    beside: tuple[Tested, ...]
    levels: tuple[Level, ...]
    undertrained: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict rests on."""

    root: Path
    experiments: Experiments
    results: Results
    declaration: Declaration
    replicates: int


def judge_all(evidence: Evidence) -> list[Judged]:
    """Judge every declared finding, in the order declared."""
    return [judge(finding, evidence) for finding in evidence.declaration.findings]


def judge(finding: Finding, evidence: Evidence) -> Judged:
    """Test a finding's contrasts and read off the verdict."""
    tests = tuple(run_test(test, evidence) for test in finding.tests)
    beside = tuple(run_test(test, evidence) for test in finding.beside)
    undertrained = _undertrained(finding, evidence)
    return Judged(
        finding=finding,
        verdict=_verdict(tests, undertrained),
        underpowered=evidence.experiments.preset == "quick",
        tests=tests,
        beside=beside,
        levels=tuple(_level(arm, metric, evidence) for arm, metric in finding.levels),
        undertrained=undertrained,
    )


def run_test(test: Test, evidence: Evidence) -> Tested:
    """Estimate one contrast over the seeds that all its arms have."""
    missing = tuple(dict.fromkeys(term.arm for term in test.terms if not _measured_runs(term, evidence)))
    if missing:
        return _not_run(test, missing)
    terms = [_term(term, evidence) for term in test.terms]
    seeds = tuple(sorted(set.intersection(*(set(term.runs) for term in terms))))
    if not seeds:
        return _not_run(test, ("a seed that all arms share",))
    mixed = _mixed_metrics(test.terms, evidence)
    if mixed:
        return _not_run(test, tuple(f"one protocol for {metric}" for metric in mixed))
    interval = contrast_interval(terms, replicates=evidence.replicates)
    return Tested(test=test, standing=standing_of(test, interval), interval=interval, seeds=seeds, missing=())


def _not_run(test: Test, missing: tuple[str, ...]) -> Tested:
    return Tested(test=test, standing="not run", interval=None, seeds=(), missing=missing)


def _mixed_metrics(terms: Sequence[DeclaredTerm], evidence: Evidence) -> list[str]:
    """List the metrics that these terms' runs were measured on by more than one protocol."""
    runs: dict[str, set[str]] = {}
    for term in terms:
        for metric in evidence.declaration.metrics[term.metric]:
            runs.setdefault(metric, set()).update(run.qualified_name for run in _measured_runs(term, evidence))
    return [metric for metric, names in runs.items() if len(evidence.results.protocols(names, metric)) > 1]


def standing_of(test: Test, interval: Interval) -> Standing:
    """Tell whether an interval lies wholly where the rule wants it, wholly elsewhere, or across the bound."""
    low, high, bound = interval.low, interval.high, test.bound
    if test.rule == "within":
        holds, opposes = -bound < low and high < bound, low > bound or high < -bound
    elif test.rule == "above":
        holds, opposes = low > bound, high < bound
    else:
        holds, opposes = high < bound, low > bound
    return "holds" if holds else "opposes" if opposes else "open"


def arm_runs(arm: str, evidence: Evidence) -> list[RunEntry]:
    """List an arm's declared runs by seed; two runs of one seed would make the arm ambiguous."""
    runs = evidence.experiments.select(**evidence.declaration.arms[arm])
    seeds = [run.seed for run in runs]
    if len(set(seeds)) != len(seeds):
        names = [run.name for run in runs]
        raise UserError("an arm selects two runs of one seed", where=f"arm {arm}", found=names, wanted="one a seed")
    return runs


def plateau_of(run: RunEntry, evidence: Evidence) -> PlateauReport | None:
    """Judge a run's development curve by its stage's rule; None where no rule is declared."""
    rule = evidence.declaration.plateaus.get(run.stage)
    if rule is None:
        return None
    folder = evidence.root / run.stage / run.name
    row = evidence.results.row(run.qualified_name, rule.probe)
    points = [(0.0, row.value)] if row is not None else series(read_metrics(folder), rule.probe)
    batch_size = int(run_config(folder)["loop"]["batch_size"]) if points and rule.times_chance else 1
    return judge_plateau(points, rule.threshold(batch_size))


def _verdict(tests: Sequence[Tested], undertrained: Sequence[str]) -> Verdict:
    if any(test.standing == "not run" for test in tests):
        return "not run"
    if min(len(test.seeds) for test in tests) < MIN_SEEDS:
        return "one seed: no verdict"
    if undertrained:
        return "undertrained"
    if all(test.standing == "holds" for test in tests):
        return "reproduced"
    return "differs" if any(test.standing == "opposes" for test in tests) else "inconclusive"


def _undertrained(finding: Finding, evidence: Evidence) -> tuple[str, ...]:
    """Name the runs on their plateau, and the measured ones of which nobody can tell."""
    terms = [term for test in finding.tests for term in test.terms]
    measured = {run for term in terms for run in _measured_runs(term, evidence)}
    runs = dict.fromkeys(run for term in terms for run in arm_runs(term.arm, evidence))
    reports = [(run, report) for run in runs if (report := plateau_of(run, evidence)) is not None]
    return tuple(run.name for run, report in reports if not report.left and (report.known or run in measured))


def _measured_runs(term: DeclaredTerm, evidence: Evidence) -> list[RunEntry]:
    metrics = evidence.declaration.metrics[term.metric]
    runs = arm_runs(term.arm, evidence)
    return [run for run in runs if all(metric in evidence.results.outcomes(run.qualified_name) for metric in metrics)]


def _term(term: DeclaredTerm, evidence: Evidence) -> Term:
    metrics = evidence.declaration.metrics[term.metric]
    runs = {run.seed: evidence.results.outcomes(run.qualified_name) for run in _measured_runs(term, evidence)}
    return Term(term.weight, runs, metrics)


def _level(arm: str, metric: str, evidence: Evidence) -> Level:
    declared = DeclaredTerm(1.0, arm, metric)
    if not _measured_runs(declared, evidence) or _mixed_metrics([declared], evidence):
        return Level(arm=arm, metric=metric, interval=None)
    interval = contrast_interval([_term(declared, evidence)], replicates=evidence.replicates)
    return Level(arm=arm, metric=metric, interval=interval)
