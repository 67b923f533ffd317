"""Verdicts on made-up worlds whose answer is known, and the declared findings themselves."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from eval.config import ResultsConfig
from eval.contrasts import Test as Contrast
from eval.contrasts import load_declaration
from eval.curves import PlateauRule, judge_plateau, series
from eval.findings import Evidence, arm_runs, judge_all, plateau_of, standing_of
from eval.outcomes import mean_of
from eval.printing import all_tables, gather, report, tables
from eval.registry import Experiments, RunEntry, load_experiments
from eval.results import Results, read_results
from eval.suite import Subject, measure, run_suite
from eval.tables.findings_table import beside_table, findings_table, levels_table, plateau_table
from runtime.errors import UserError
from runtime.intervals import Interval

CONFIGS = Path("configs/experiments")
DECLARED = {
    "metrics": {"score": ["set/score"]},
    "arms": {
        "new": {"stage": "clip", "model": "b", "original_share": 0.8, "knockout": None},
        "old": {"stage": "clip", "model": "b", "original_share": 1.0, "knockout": None},
        "knocked": {"stage": "clip", "model": "b", "original_share": 0.8, "knockout": "K3"},
    },
    "plateaus": {"clip": {"probe": "accuracy", "times_chance": 3}},
    "findings": [
        {
            "id": "a",
            "claim": "new beats old",
            "metric": "score",
            "tests": [{"label": "new minus old", "terms": [[1, "new", "score"], [-1, "old", "score"]]}],
            "beside": [{"label": "K3", "terms": [[1, "knocked", "score"], [-1, "old", "score"]]}],
            "levels": [["new", "score"]],
        }
    ],
}


def world(root: Path, effect: float, *, seeds: int = 4, accuracy: float = 0.9, preset: str = "mini") -> Evidence:
    """Write runs, curves and outcomes in which `new` scores `effect` above `old` on every item."""
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=60)
    runs = []
    for share, shift in ((0.8, effect), (1.0, 0.0)):
        for seed in range(seeds):
            run = RunEntry(name=f"b-p{share}-s{seed}", stage="clip", model="b", original_share=share, seed=seed)
            runs.append(run)
            folder = root / "clip" / run.name
            folder.mkdir(parents=True)
            lines = [{"update": update, "accuracy": accuracy} for update in (10, 20, 30)]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (folder / "config.yaml").write_text("loop: {batch_size: 32}\nseed: 0\n")
            values = difficulty + shift + 0.1 * generator.normal(size=60)
            outcome = mean_of({f"{index:03d}": float(value) for index, value in enumerate(values)})
            subject = Subject(run=run.qualified_name, seed=seed, checkpoint_sha256="", data_fingerprint="")
            target = root / "eval" / "clip" / run.name / "clip"
            run_suite(target, subject, "", lambda outcome=outcome: [measure("set/score", outcome, "protocol", 20)])
    (root / "findings.yaml").write_text(yaml.safe_dump(DECLARED))
    return Evidence(
        root=root,
        experiments=Experiments(preset=preset, runs=tuple(runs)),
        results=read_results(root),
        declaration=load_declaration(root / "findings.yaml"),
        replicates=200,
    )


@pytest.mark.parametrize(("effect", "verdict"), [(0.5, "reproduced"), (-0.5, "differs"), (0.0, "inconclusive")])
def test_verdicts_follow_the_truth(tmp_path: Path, effect: float, verdict: str) -> None:
    (judged,) = judge_all(world(tmp_path, effect))
    assert judged.verdict == verdict
    assert judged.tests[0].interval.value == pytest.approx(effect, abs=0.05)
    assert judged.tests[0].seeds == (0, 1, 2, 3)


def test_one_seed_gives_an_estimate_and_no_verdict(tmp_path: Path) -> None:
    (judged,) = judge_all(world(tmp_path, 0.5, seeds=1))
    assert judged.verdict == "one seed: no verdict"
    assert judged.tests[0].standing == "holds"


def test_an_arm_on_its_plateau_is_not_judged(tmp_path: Path) -> None:
    (judged,) = judge_all(world(tmp_path, 0.5, accuracy=0.05))
    assert judged.verdict == "undertrained"
    assert len(judged.undertrained) == 8


def test_a_measured_arm_without_a_probe_is_not_judged(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5)
    (tmp_path / "clip" / "b-p0.8-s1" / "metrics.jsonl").unlink()
    (judged,) = judge_all(evidence)
    assert judged.verdict == "undertrained" and judged.undertrained == ("b-p0.8-s1",)
    assert ("clip/b-p0.8-s1", "–", "–", "unknown: no probe") in plateau_table(evidence).rows


def test_a_probe_that_an_evaluation_measures_is_its_own_level(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5, accuracy=0.05)
    rule = PlateauRule(probe="set/score", minimum=-10.0)
    by_row = replace(evidence, declaration=replace(evidence.declaration, plateaus={"clip": rule}))
    run = evidence.experiments.runs[0]
    report = plateau_of(run, by_row)
    assert report.left and report.level == evidence.results.row(run.qualified_name, "set/score").value


def with_blind_rows(evidence: Evidence, value: float | None) -> Evidence:
    """Give every run a blind row of 50, and the run of arm `new` with seed 1 one of `value`, or none."""
    rows = dict(evidence.results.rows)
    for run in evidence.experiments.runs:
        score = value if run.name == "b-p0.8-s1" else 0.5
        if score is not None:
            key = run.qualified_name, "set/score"
            rows[run.qualified_name, "set/blind"] = replace(rows[key], metric="set/blind", value=score)
    (finding,) = evidence.declaration.findings
    declaration = replace(
        evidence.declaration,
        metrics={**evidence.declaration.metrics, "blind": ("set/blind",)},
        findings=(replace(finding, blind=(("new", "blind"), ("old", "blind"))),),
    )
    return replace(evidence, results=Results(rows, evidence.results.folders), declaration=declaration)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.5, "reproduced"),
        (0.509, "reproduced"),
        (0.52, "inconclusive"),
        (0.48, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_a_test_that_is_solved_without_looking_concludes_nothing(
    tmp_path: Path, value: float | None, verdict: str
) -> None:
    (judged,) = judge_all(with_blind_rows(world(tmp_path, 0.5), value))
    assert judged.verdict == verdict
    shown = findings_table([judged]).rows[0][-1]
    assert shown == (verdict if verdict == "reproduced" else f"{verdict} (blind row not at 50: b-p0.8-s1)")


def test_truncated_shares_of_training_captions_stand_beside_a_finding(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5)
    for seed, truncated in enumerate((0.1, 0.3)):
        sources = {
            "original": {"share": 0.75, "truncated_share": 0.0},
            "recaption": {"share": 0.25, "truncated_share": truncated},
        }
        mark = tmp_path / "clip" / f"b-p0.8-s{seed}" / "done.json"
        mark.write_text(json.dumps({"audit": {"sources": sources}}))
    (finding,) = evidence.declaration.findings
    declaration = replace(evidence.declaration, findings=(replace(finding, truncated=("new", "old")),))
    judged = judge_all(replace(evidence, declaration=declaration))
    assert levels_table(judged).rows[1:] == (
        ("a", "new", "training captions truncated", "5.0"),
        ("a", "old", "training captions truncated", "–"),
    )


def test_the_declared_cautions_are_checked(tmp_path: Path) -> None:
    findings = {finding.id: finding for finding in load_declaration(CONFIGS / "findings.yaml").findings}
    assert findings["c"].truncated == ("clip concat", "clip p=.8")
    assert findings["d2"].blind == (("clip p=1", "swap_blind"), ("clip p=.8", "swap_blind"))
    for field, value in (("truncated", ["nobody"]), ("blind", [["new", "nothing"]])):
        document = deepcopy(DECLARED)
        document["findings"][0][field] = value
        (tmp_path / "findings.yaml").write_text(yaml.safe_dump(document))
        with pytest.raises(UserError, match=r"finding a: undeclared .*found no"):
            load_declaration(tmp_path / "findings.yaml")


def test_missing_arms_are_named_and_knockouts_stand_beside(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5)
    (judged,) = judge_all(evidence)
    assert judged.beside[0].standing == "not run" and judged.beside[0].missing == ("knocked",)
    few = Experiments(preset="mini", runs=tuple(evidence.experiments.select(original_share=0.8)))
    (judged,) = judge_all(Evidence(**{**vars(evidence), "experiments": few}))
    assert judged.verdict == "not run" and judged.tests[0].missing == ("old",)


def test_arms_measured_by_unlike_protocols_are_not_compared(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5)
    rows = dict(evidence.results.rows)
    for run in evidence.experiments.select(original_share=0.8):
        key = run.qualified_name, "set/score"
        rows[key] = replace(rows[key], protocol="another")
    (judged,) = judge_all(replace(evidence, results=Results(rows, evidence.results.folders)))
    assert judged.verdict == "not run"
    assert judged.tests[0].standing == "not run" and judged.tests[0].missing == ("one protocol for set/score",)
    assert judged.levels[0].interval is not None
    rows["clip/b-p0.8-s0", "set/score"] = replace(rows["clip/b-p0.8-s0", "set/score"], protocol="a third")
    (judged,) = judge_all(replace(evidence, results=Results(rows, evidence.results.folders)))
    assert judged.levels[0].interval is None


def test_quick_is_marked_underpowered(tmp_path: Path) -> None:
    (judged,) = judge_all(world(tmp_path, 0.5, preset="quick"))
    assert judged.underpowered


def test_two_runs_of_one_seed_in_an_arm_are_refused(tmp_path: Path) -> None:
    evidence = world(tmp_path, 0.5)
    double = (*evidence.experiments.runs, RunEntry(name="again", stage="clip", model="b", original_share=0.8, seed=0))
    doubled = Evidence(**{**vars(evidence), "experiments": Experiments(preset="mini", runs=double)})
    with pytest.raises(UserError, match="an arm selects two runs of one seed"):
        judge_all(doubled)


@pytest.mark.parametrize(
    ("rule", "low", "high", "standing"),
    [
        ("above", 0.1, 0.2, "holds"),
        ("above", -0.2, -0.1, "opposes"),
        ("above", -0.1, 0.1, "open"),
        ("below", -0.2, -0.1, "holds"),
        ("below", 0.1, 0.2, "opposes"),
        ("within", -0.04, 0.04, "holds"),
        ("within", -0.06, 0.04, "open"),
        ("within", 0.06, 0.08, "opposes"),
        ("within", -0.08, -0.06, "opposes"),
    ],
)
def test_rules(rule, low: float, high: float, standing: str) -> None:
    bound = 0.05 if rule == "within" else 0.0
    test = Contrast(label="x", terms=(), rule=rule, bound=bound)
    assert standing_of(test, Interval((low + high) / 2, low, high)) == standing


def test_plateau_rule_reads_the_level_of_the_last_probes() -> None:
    threshold = PlateauRule(probe="accuracy", times_chance=3.0).threshold(batch_size=30)
    assert threshold == pytest.approx(0.1)
    points = series([{"update": update, "accuracy": update / 100} for update in (30, 10, 20)], "accuracy")
    assert [step for step, _ in points] == [10.0, 20.0, 30.0]
    assert judge_plateau(points, threshold).left
    assert not judge_plateau([*points, (40.0, 0.0), (50.0, 0.0)], threshold).left
    nothing = judge_plateau([], threshold)
    assert not nothing.known and not nothing.left


@pytest.mark.parametrize("change", [("arms", "new"), ("metrics", "score")])
def test_undeclared_names_are_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    part, name = change
    document = {**DECLARED, part: {key: value for key, value in DECLARED[part].items() if key != name}}
    (tmp_path / "findings.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=f"finding a: undeclared .*found {name}"):
        load_declaration(tmp_path / "findings.yaml")


@pytest.mark.parametrize(
    ("place", "key", "message"),
    [
        (("arms", "new"), "orignal_share", "arm new: unknown key: found orignal_share, wanted one of captions, "),
        (("findings", 0, "tests", 0), "bnd", "finding a: new minus old: unknown key: found bnd, wanted one of bound, "),
        (("findings", 0, "beside", 0), "rul", "finding a: K3: unknown key: found rul"),
        (("findings", 0), "besides", "finding a: unknown key: found besides"),
        (("plateaus", "clip"), "minimun", "plateau clip: unknown key: found minimun"),
        ((), "arm", "unknown key: found arm, wanted one of arms, "),
    ],
)
def test_mistyped_keys_are_named_with_their_file(
    tmp_path: Path, place: tuple[str | int, ...], key: str, message: str
) -> None:
    document = deepcopy(DECLARED)
    part = document
    for step in place:
        part = part[step]
    part[key] = 1
    path = tmp_path / "findings.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError) as caught:
        load_declaration(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_unknown_rule_is_named_with_its_file(tmp_path: Path) -> None:
    document = deepcopy(DECLARED)
    document["findings"][0]["tests"][0]["rule"] = "over"
    path = tmp_path / "findings.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match="finding a: new minus old: unknown rule: found over, wanted above"):
        load_declaration(path)


def test_every_declared_contrast_is_there_and_its_arms_run_in_mini_full() -> None:
    declaration = load_declaration(CONFIGS / "findings.yaml")
    ids = [finding.id for finding in declaration.findings]
    assert ids == ["a", "b1", "b2", "c", "d1", "d2", "e", "f", "g1", "g2", "h"]
    experiments = load_experiments(CONFIGS / "mini_full.yaml")
    evidence = Evidence(
        root=Path(),
        experiments=experiments,
        results=read_results(Path("nowhere")),
        declaration=declaration,
        replicates=1,
    )
    for finding in declaration.findings:
        for test in finding.tests:
            for term in test.terms:
                num_seeds = len(arm_runs(term.arm, evidence))
                assert num_seeds == (2 if term.arm == "captioner" else 5), (finding.id, term.arm)
        for test in finding.beside:
            assert all(arm_runs(term.arm, evidence) for term in test.terms), (finding.id, test.label)


@pytest.mark.parametrize(
    ("finding", "label", "rule", "terms"),
    [
        ("a", "K1 gain minus proper gain", "below", ["+clip K1 p=.8", "-clip K1 p=1", "-clip p=.8", "+clip p=1"]),
        ("a", "K3 p=.8 minus proper p=.8", "below", ["+clip K3 p=.8", "-clip p=.8"]),
        ("a", "K4 p=.8 minus proper p=.8", "below", ["+clip K4 p=.8", "-clip p=.8"]),
        ("b1", "K2 p=0 minus proper p=0", "above", ["+clip K2 p=0", "-clip p=0"]),
        ("d1", "K1 gain minus proper gain", "below", ["+clip K1 p=.8", "-clip K1 p=1", "-clip p=.8", "+clip p=1"]),
        ("d1", "K3 p=.8 minus proper p=.8", "below", ["+clip K3 p=.8", "-clip p=.8"]),
        ("d1", "K4 p=.8 minus proper p=.8", "below", ["+clip K4 p=.8", "-clip p=.8"]),
        ("f", "K3 p=0 minus proper p=0", "below", ["+dit K3 p=0", "-dit p=0"]),
    ],
)
def test_knockouts_are_set_against_the_experiment_proper(finding: str, label: str, rule: str, terms: list[str]) -> None:
    declared = {each.id: each for each in load_declaration(CONFIGS / "findings.yaml").findings}[finding]
    (test,) = [test for test in declared.beside if test.label == label]
    assert test.rule == rule and test.bound == 0.0
    assert [{1.0: "+", -1.0: "-"}[term.weight] + term.arm for term in test.terms] == terms
    assert {term.metric for term in test.terms} == {declared.tests[0].terms[0].metric}


def test_rules_of_what_stands_beside_are_shown_with_the_caution_about_one_seed(tmp_path: Path) -> None:
    judged = judge_all(world(tmp_path, 0.5))
    table = beside_table(judged)
    assert table.rows[0][table.headers.index("rule")] == "> 0"
    for each in (table, findings_table(judged)):
        assert any("one training seed is over test items only" in note for note in each.notes)


def test_tables_and_report_are_written_whole(tmp_path: Path, capsys) -> None:
    world(tmp_path, 0.5)
    experiments = tmp_path / "experiments.yaml"
    names = "b-p{original_share}-s{seed}"
    experiments.write_text(
        f'preset: mini\nruns:\n  - {{stage: clip, name: "{names}", model: b, original_shares: [0.8, 1.0], '
        "seeds: [0, 1, 2, 3]}\n"
    )
    config = ResultsConfig(
        root=tmp_path, experiments=experiments, findings=tmp_path / "findings.yaml", bootstrap_replicates=50
    )
    tables(config)
    text = (tmp_path / "tables.md").read_text()
    assert "reproduced" in text and "not run in this preset" in text
    for number in range(1, 8):
        assert f"## Table {number}." in text
    report(config)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "reproduced" in page and "<svg" in page
    assert 'src="http' not in page and "<link" not in page and "<script" not in page
    titles = [table.title for table in all_tables(gather(config))]
    assert len(titles) == 19
    # One file a table: no two titles give one name.
    assert len(list((tmp_path / "tables").glob("*.csv"))) == 19
    assert (tmp_path / "tables.tex").read_text().count(r"\begin{table}") == 19


def test_results_of_nowhere_are_refused(tmp_path: Path) -> None:
    config = ResultsConfig(root=tmp_path / "none", experiments=tmp_path / "x.yaml")
    with pytest.raises(UserError, match="no such folder of runs"):
        tables(config)
