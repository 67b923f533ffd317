"""Verdicts on the declared contrasts, from the kept outcomes of every arm and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from eval.bootstrap import Term, contrast_interval
from eval.contrasts import Declaration, DeclaredTerm, Finding, Test
from eval.curves import PlateauReport, judge_plateau, read_metrics, series
from eval.registry import Experiments, RunEntry
from eval.results import Results
from eval.runs import run_config, truncated_share
from runtime.errors import UserError
from runtime.intervals import Interval

MIN_SEEDS = 2
"""A verdict needs at least this many training seeds."""
GUESSING = 0.5
"""What a choice between two texts scores without the picture."""
BLIND_TOLERANCE = 0.01
"""How far a blind row may lie from it: one point."""

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
    not_blind: tuple[str, ...]
    """Runs whose blind row is not what guessing scores."""


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
    undertrained, not_blind = _undertrained(finding, evidence), _not_blind(finding, evidence)
    return Judged(
        finding=finding,
        verdict=_verdict(tests, undertrained, not_blind),
        underpowered=evidence.experiments.preset == "quick",
        tests=tests,
        beside=beside,
        levels=(
            *(_level(arm, metric, evidence) for arm, metric in finding.levels),
            *(_truncation(arm, evidence) for arm in finding.truncated),
        ),
        undertrained=undertrained,
        not_blind=not_blind,
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


def _verdict(tests: Sequence[Tested], undertrained: Sequence[str], not_blind: Sequence[str]) -> Verdict:
    if any(test.standing == "not run" for test in tests):
        return "not run"
    if min(len(test.seeds) for test in tests) < MIN_SEEDS:
        return "one seed: no verdict"
    if undertrained:
        return "undertrained"
    if not_blind:
        return "inconclusive"
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


def _not_blind(finding: Finding, evidence: Evidence) -> tuple[str, ...]:
    """Name the measured runs whose blind row is absent or further from guessing than `BLIND_TOLERANCE`."""
    found: dict[str, None] = {}
    tested = {run for test in finding.tests for term in test.terms for run in _measured_runs(term, evidence)}
    for arm, group in finding.blind:
        for run in (run for run in arm_runs(arm, evidence) if run in tested):
            rows = [evidence.results.row(run.qualified_name, name) for name in evidence.declaration.metrics[group]]
            if not all(row is not None and abs(row.value - GUESSING) <= BLIND_TOLERANCE for row in rows):
                found[run.name] = None
    return tuple(found)


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


def _truncation(arm: str, evidence: Evidence) -> Level:
    """Give the share of an arm's training captions that were truncated, the mean over its finished runs."""
    shares = [share for run in arm_runs(arm, evidence) if (share := truncated_share(evidence.root, run)) is not None]
    interval = Interval(fmean(shares), fmean(shares), fmean(shares)) if shares else None
    return Level(arm=arm, metric="training_captions_truncated", interval=interval)
