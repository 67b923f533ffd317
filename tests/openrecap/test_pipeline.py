"""Every preset's experiment becomes jobs that can run in the order given."""

import json
from pathlib import Path

import pytest

from eval.registry import load_experiments
from imagetext.alt_text_prompts import CONDITIONED_PROMPT
from openrecap import reproduce
from openrecap.folders import Folders
from openrecap.jobs import Job
from openrecap.marks import Marks
from openrecap.pipeline import build
from runtime.errors import UserError

PRESETS = [path.stem for path in sorted(Path("configs/experiments").glob("*.yaml")) if path.stem != "findings"]


def jobs_of(preset: str) -> dict[str, Job]:
    jobs = build(load_experiments(Path(f"configs/experiments/{preset}.yaml")), Path("runs") / preset)
    return {job.name: job for job in jobs}


def argument(job: Job, flag: str) -> str:
    return job.arguments[job.arguments.index(flag) + 1]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_run_is_evaluated_and_collected(preset: str) -> None:
    jobs = jobs_of(preset)
    trained = {name for name, job in jobs.items() if job.stage in ("clip", "dit")}
    evaluated = {job.needs[0] for job in jobs.values() if job.stage == "eval"}
    assert trained and trained <= evaluated
    assert {job.name for job in jobs.values() if job.stage == "eval"} <= set(jobs["results"].needs)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_config_file_exists(preset: str) -> None:
    missing = [str(path) for job in jobs_of(preset).values() for path in job.config_files if not path.is_file()]
    assert not missing


def test_original_captions_alone_do_not_wait_for_the_captioner() -> None:
    jobs = jobs_of("mini")
    assert "recaption/web" in jobs["clip/b_base-p0.8-s0"].needs
    assert argument(jobs["clip/b_base-p0.8-s0"], "--mix.original_share") == "0.8"


def test_knockouts_change_the_captions_they_name() -> None:
    jobs = jobs_of("mini_full")
    of_all_species = jobs["captioner/all_species"]
    assert argument(of_all_species, "--instruct.conversations") == "[instruct.json, detail_all_species.json]"
    assert argument(of_all_species, "--detail.conversations").startswith("[detail_all_species.json, conditioned.json")
    assert "detail.json" not in argument(of_all_species, "--detail.conversations")
    assert argument(jobs["clip/b_base-k1-p0.8-s0"], "--data.sidecars.original").endswith("data/web_clean")
    assert argument(jobs["clip/b_base-k2-p0.0-s0"], "--data.sidecars.recaption").endswith("recaption/web_k2")
    assert argument(jobs["clip/b_base-k3-p0.8-s0"], "--data.sidecars.recaption").endswith("recaption/web_k3")
    assert argument(jobs["clip/b_base-k4-p0.8-s0"], "--data.sidecars.recaption").endswith("data/web_paraphrase")
    assert "--data.sidecars.original" not in jobs["clip/b_base-p0.8-s0"].arguments


@pytest.mark.parametrize("preset", PRESETS)
def test_modes_that_know_the_alt_text_are_asked_in_one_pass_and_measured_beside_the_paper_s(preset: str) -> None:
    jobs = jobs_of(preset)
    asked = jobs["recaption/web_heldout-modes"]
    assert argument(asked, "--prompt") == "@conditioned" and argument(asked, "--repair.steps") == "[]"
    more = json.loads(argument(asked, "--more_prompts"))
    assert more == {"greedy": CONDITIONED_PROMPT, "knowledge": "@knowledge"}
    measured = jobs["eval/modes/main"]
    assert argument(measured, "--recaptions.modes") == argument(asked, "--output_dir")
    assert argument(measured, "--recaptions.web_heldout").endswith("recaption/web_heldout")
    assert {asked.name, "recaption/web_heldout"} <= set(measured.needs)
    # The contrasts' captions stay those of the paper's prompt.
    assert argument(jobs["eval/captions/main"], "--recaptions.web_heldout").endswith("recaption/web_heldout")
    assert "--prompt" not in jobs["recaption/web"].arguments


def test_all_clip_arms_read_with_one_tokenizer() -> None:
    jobs = [job for job in jobs_of("mini_full").values() if job.stage == "clip"]
    assert len({argument(job, "--tokenizer_data.sidecars.recaption") for job in jobs}) == 1
    assert len({argument(job, "--tokenizer_data.shards") for job in jobs}) == 1


@pytest.mark.parametrize(
    ("left_out", "wanted"),
    [("stage: clip", "original_share 1.0"), ("prompts/images", "a recaption run of prompts/images")],
)
def test_generators_that_cannot_be_evaluated_are_refused(left_out: str, wanted: str, tmp_path: Path) -> None:
    lines = Path("configs/experiments/quick.yaml").read_text().splitlines(keepends=True)
    path = tmp_path / "quick.yaml"
    path.write_text("".join(line for line in lines if left_out not in line))
    with pytest.raises(UserError, match=rf"quick\.yaml: dit runs cannot be evaluated: found no such run, .*{wanted}"):
        build(load_experiments(path), tmp_path / "runs")


def test_status_says_when_done_jobs_come_from_unlike_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(name=name, stage="clip", arguments=(), output=tmp_path / name) for name in ("a", "b")]
    marks = Marks(Folders(root=tmp_path / "mini").marks)
    for job, commit in zip(jobs, ("a" * 40, "b" * 40), strict=True):
        job.output.mkdir()
        (job.output / "provenance.json").write_text(json.dumps({"starts": [{"commit": commit}]}))
        marks.write(job, marks.inputs_of(job), 1.0)
    monkeypatch.setattr(reproduce, "declared_jobs", lambda preset, runs: jobs)
    reproduce.print_status("mini", tmp_path)
    assert "aaaaaaaaaa (1), bbbbbbbbbb (1)" in capsys.readouterr().out
    monkeypatch.setattr(reproduce, "declared_jobs", lambda preset, runs: jobs[:1])
    reproduce.print_status("mini", tmp_path)
    assert "commits" not in capsys.readouterr().out


def test_mistakes_in_the_declared_contrasts_show_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mini.yaml", "findings.yaml"):
        text = (reproduce.EXPERIMENTS / name).read_text()
        (tmp_path / name).write_text(text.replace("bound: 5}", "bnd: 5}"))
    monkeypatch.setattr(reproduce, "EXPERIMENTS", tmp_path)
    with pytest.raises(UserError, match=r"findings\.yaml: finding g2: .*unknown key: found bnd"):
        reproduce.declared_jobs("mini", tmp_path)
