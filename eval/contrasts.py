"""The declared contrasts, as data: metrics, arms and findings of `configs/experiments/findings.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from eval.curves import PlateauRule
from eval.registry import RUN_FIELDS, refuse_unknown_keys
from runtime.errors import UserError
from runtime.yaml_files import read_mapping

RuleName = Literal["above", "below", "within"]


@dataclass(frozen=True)
class DeclaredTerm:
    """One addend of a contrast: weight x mean of a metric group over an arm's seeds."""

    weight: float
    arm: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Test:
    """One linear contrast with the rule it must meet."""

    __test__ = False
    label: str
    terms: tuple[DeclaredTerm, ...]
    rule: RuleName = "above"
    bound: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim of the paper with its tests, what is shown beside it, and the arms whose level is shown.

    `truncated` names the arms whose share of truncated training captions is shown too, `blind` the rows (arm, metric
    group) that see no picture and must score what guessing scores.
    """

    id: str
    claim: str
    metric: str
    tests: tuple[Test, ...]
    beside: tuple[Test, ...] = ()
    levels: tuple[tuple[str, str], ...] = ()
    truncated: tuple[str, ...] = ()
    blind: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The whole file."""

    metrics: Mapping[str, tuple[str, ...]]
    """Metric groups; a group's value is the mean of its metrics."""
    arms: Mapping[str, Mapping[str, object]]
    """Selectors over the fields of a run entry."""
    plateaus: Mapping[str, PlateauRule]
    """Rule by stage."""
    findings: tuple[Finding, ...]


def load_declaration(path: Path) -> Declaration:
    """Read and check the declared contrasts: every key is known, every term names a declared arm and metric group."""
    document = read_mapping(path, "file of declared contrasts")
    try:
        declaration = _declaration(document, path)
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"key {error} is missing", where=path, fix="Declare it as the other contrasts do") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError("malformed declaration", where=path, found=str(error)) from None
    for finding in declaration.findings:
        _check_names(finding, declaration, path)
    return declaration


def _declaration(document: Mapping[str, Any], path: Path) -> Declaration:
    refuse_unknown_keys(document, _keys(Declaration), str(path))
    for arm, selector in document["arms"].items():
        refuse_unknown_keys(selector, RUN_FIELDS, f"{path}: arm {arm}")
    return Declaration(
        metrics={name: tuple(members) for name, members in document["metrics"].items()},
        arms=document["arms"],
        plateaus={stage: _plateau(rule, f"{path}: plateau {stage}") for stage, rule in document["plateaus"].items()},
        findings=tuple(_finding(record, path) for record in document["findings"]),
    )


def _finding(record: Mapping[str, Any], path: Path) -> Finding:
    where = f"{path}: finding {record['id']}"
    refuse_unknown_keys(record, _keys(Finding), where)
    return Finding(
        id=record["id"],
        claim=record["claim"],
        metric=record["metric"],
        tests=tuple(_test(test, where) for test in record["tests"]),
        beside=tuple(_test(test, where) for test in record.get("beside", ())),
        levels=tuple((arm, metric) for arm, metric in record.get("levels", ())),
        truncated=tuple(record.get("truncated", ())),
        blind=tuple((arm, metric) for arm, metric in record.get("blind", ())),
    )


def _plateau(record: Mapping[str, Any], where: str) -> PlateauRule:
    refuse_unknown_keys(record, _keys(PlateauRule), where)
    bounds = {name: float(value) for name, value in record.items() if name != "probe"}
    return PlateauRule(probe=record["probe"], **bounds)


def _test(record: Mapping[str, Any], where: str) -> Test:
    where = f"{where}: {record['label']}"
    refuse_unknown_keys(record, _keys(Test), where)
    terms = tuple(DeclaredTerm(float(weight), arm, metric) for weight, arm, metric in record["terms"])
    rule = record.get("rule", "above")
    if rule not in get_args(RuleName):
        raise UserError("unknown rule", where=where, found=rule, wanted=" | ".join(get_args(RuleName)))
    return Test(label=record["label"], terms=terms, rule=rule, bound=float(record.get("bound", 0.0)))


def _keys(kind: type[Declaration] | type[Finding] | type[PlateauRule] | type[Test]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _check_names(finding: Finding, declaration: Declaration, path: Path) -> None:
    pairs: Sequence[tuple[str, str]] = [
        *((term.arm, term.metric) for test in (*finding.tests, *finding.beside) for term in test.terms),
        *finding.levels,
        *finding.blind,
    ]
    for arm in (*(arm for arm, _ in pairs), *finding.truncated):
        if arm not in declaration.arms:
            raise UserError("undeclared arm", where=f"{path}: finding {finding.id}", found=arm)
    for _, metric in pairs:
        if metric not in declaration.metrics:
            raise UserError("undeclared metric group", where=f"{path}: finding {finding.id}", found=metric)
