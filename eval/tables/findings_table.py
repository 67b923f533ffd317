"""The declared findings as tables."""

from collections.abc import Sequence

from eval.findings import Evidence, Judged, Level, Tested, arm_runs, plateau_of
from eval.tables.cells import format_interval
from eval.tables.table import NOT_RUN, NOTHING, Table
from runtime.intervals import Interval

NOTES = (
    "Estimates with 95 % intervals: hierarchical bootstrap over training seeds and test items, paired across arms. "
    "Shares as percentage points. A rule is met when the whole interval meets it.",
    "Verdicts: reproduced (all rules met), differs (an interval lies wholly on the other side), inconclusive, "
    "undertrained (an arm had not left its learning plateau, or has no probe to tell). One training seed "
    "gives an estimate and no verdict.",
)
ONE_SEED = "An interval from one training seed is over test items only: it does not say how far another seed would lie."
_PLAIN = ("words", "frechet", "clip_score")
"""Metric groups whose values are no shares."""


def findings_table(judged: Sequence[Judged]) -> Table:
    """Show every finding with its estimates and verdict."""
    rows = [row for finding in judged for row in _finding_rows(finding)]
    headers = ("finding", "claim", "contrast", "estimate", "rule", "seeds", "verdict")
    underpowered = ("Preset quick: every finding here is underpowered; budgets are far too small.",)
    notes = (*NOTES, ONE_SEED, *(underpowered if any(each.underpowered for each in judged) else ()))
    return Table(title="Findings", headers=headers, rows=tuple(rows), notes=notes, text_columns=(0, 1, 2, 4, 6))


def beside_table(judged: Sequence[Judged]) -> Table:
    """Show the knockouts, the oracle and further contrasts beside each finding."""
    rows = [
        (each.finding.id, tested.test.label, estimate_cell(tested), _rule(tested), _seeds(tested))
        for each in judged
        for tested in each.beside
    ]
    notes = (
        "A knockout should kill its finding: its own gain then misses the rule, and the difference from the experiment "
        "proper meets its own. If it does not, the finding had another cause.",
        ONE_SEED,
    )
    headers = ("finding", "contrast", "estimate", "rule", "seeds")
    title = "Knockouts, oracle and further contrasts"
    return Table(title=title, headers=headers, rows=tuple(rows), notes=notes, text_columns=(0, 1, 3))


def levels_table(judged: Sequence[Judged]) -> Table:
    """Show the arms' own values, to see whether they lie off floor and ceiling."""
    rows = [
        (each.finding.id, level.arm, level.metric.replace("_", " "), level_cell(level))
        for each in judged
        for level in each.levels
    ]
    headers = ("finding", "arm", "metric", "value")
    return Table(title="Levels of the arms", headers=headers, rows=tuple(rows), text_columns=(0, 1, 2))


def plateau_table(evidence: Evidence) -> Table:
    """Show each judged run's level beside the threshold that ends the plateau; a measured run may lack the probe."""
    arms = dict.fromkeys(
        term.arm for finding in evidence.declaration.findings for test in finding.tests for term in test.terms
    )
    rows = []
    for run in dict.fromkeys(run for arm in arms for run in arm_runs(arm, evidence)):
        report = plateau_of(run, evidence)
        if report is not None and report.known:
            left = "left" if report.left else "not left"
            rows.append((run.qualified_name, f"{report.level:.3f}", f"{report.threshold:.3f}", left))
        elif report is not None and run.qualified_name in evidence.results.folders:
            rows.append((run.qualified_name, NOTHING, NOTHING, "unknown: no probe"))
    probes = "; ".join(f"{stage}: `{rule.probe}`" for stage, rule in evidence.declaration.plateaus.items())
    notes = (
        f"Probes by stage: {probes}. A probe that training logs is taken on training batches, and the level is the "
        "median of its last three values; a probe that an evaluation measures has one row, which is the level.",
    )
    headers = ("run", "level", "threshold", "plateau")
    return Table(title="Learning plateaus", headers=headers, rows=tuple(rows), notes=notes)


def estimate_cell(tested: Tested) -> str:
    """Format a contrast's estimate, or say what was not run."""
    if tested.interval is None:
        return f"{NOT_RUN} ({', '.join(tested.missing)})"
    return _format(tested.interval, [term.metric for term in tested.test.terms])


def level_cell(level: Level) -> str:
    """Format an arm's value."""
    return NOTHING if level.interval is None else _format(level.interval, [level.metric])


def verdict_cell(judged: Judged) -> str:
    """Write the verdict, with what qualifies it."""
    if judged.verdict == "not run":
        return NOT_RUN
    remarks = [f"undertrained: {', '.join(judged.undertrained)}"] if judged.undertrained else []
    remarks += [f"blind row not at 50: {', '.join(judged.not_blind)}"] if judged.not_blind else []
    remarks += ["underpowered"] if judged.underpowered else []
    return f"{judged.verdict} ({'; '.join(remarks)})" if remarks else judged.verdict


def _finding_rows(judged: Judged) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for index, tested in enumerate(judged.tests):
        first = index == 0
        rows.append(
            (
                judged.finding.id if first else "",
                judged.finding.claim if first else "",
                tested.test.label,
                estimate_cell(tested),
                _rule(tested),
                _seeds(tested),
                verdict_cell(judged) if first else "",
            )
        )
    return rows


def _rule(tested: Tested) -> str:
    test, standing = tested.test, tested.standing
    scale, _ = _scale([term.metric for term in test.terms])
    sign = {"above": ">", "below": "<", "within": "within ±"}[test.rule]
    rule = f"{sign} {test.bound * scale:g}" if test.rule != "within" else f"{sign}{test.bound * scale:g}"
    return rule if standing == "not run" else f"{rule}: {standing}"


def _seeds(tested: Tested) -> str:
    return str(len(tested.seeds)) if tested.seeds else NOTHING


def _format(interval: Interval, metrics: Sequence[str]) -> str:
    scale, digits = _scale(metrics)
    return format_interval(interval, scale, digits)


def _scale(metrics: Sequence[str]) -> tuple[float, int]:
    """Give percentage points for shares, plain numbers for words, distances and scores."""
    plain = all(any(part in metric for part in _PLAIN) for metric in metrics)
    return (1.0, 2) if plain else (100.0, 1)
