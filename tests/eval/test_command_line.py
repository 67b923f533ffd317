"""`python -m eval`: verbs, presets and mistakes."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from eval.__main__ import main
from eval.config import EvalConfig
from eval.measuring import _refuse_foundation
from eval.verbs import VERBS
from runtime.config import load, to_yaml
from runtime.errors import UserError


@pytest.mark.parametrize("preset", ["quick", "mini", "mini_full"])
def test_presets_load_and_round_trip(preset: str, tmp_path: Path) -> None:
    flags = ["--output_dir=x", "--miniweb=y"]
    config = load(EvalConfig, Path(f"configs/eval/{preset}.yaml"), overrides=flags)
    (tmp_path / "printed.yaml").write_text(to_yaml(config))
    assert load(EvalConfig, tmp_path / "printed.yaml") == config


def test_help_answers_at_once_and_names_every_verb(capsys) -> None:
    main([])
    out = capsys.readouterr().out
    for verb in VERBS:
        assert verb in out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_done_by_a_function_that_is_there(name: str) -> None:
    assert callable(getattr(import_module(VERBS[name].module), VERBS[name].function))


def test_an_unknown_verb_ends_in_one_line_and_code_2() -> None:
    done = subprocess.run([sys.executable, "-m", "eval", "guess"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [f"error: eval: unknown verb: found guess, wanted {' | '.join(VERBS)}"]


def test_a_suite_without_a_run_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Pass --run RUN_FOLDER"):
        main(["clip", "--output_dir", str(tmp_path), "--miniweb", str(tmp_path)])


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the run is not finished"):
        main(["clip", "--output_dir", str(tmp_path), "--miniweb", str(tmp_path), "--run", str(tmp_path)])


def test_guidance_needs_something_to_choose_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\.guidance_scales"):
        load(EvalConfig, overrides=["--output_dir=x", "--miniweb=y", "--images.guidance_scales=[]"])


def test_the_foundation_is_no_scorer(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    config = EvalConfig(output_dir=tmp_path, miniweb=tmp_path, foundation=tmp_path, scorers={"clip": tmp_path})
    from eval.suite import weights_sha256

    with pytest.raises(UserError, match=r"scorers\.clip: the scorer is the foundation"):
        _refuse_foundation(config, {"clip": weights_sha256(tmp_path)})
    _refuse_foundation(config, {"clip": "another"})
