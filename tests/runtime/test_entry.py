"""What a failing command prints, and its exit code."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from runtime.entry import run_entry
from runtime.errors import NonFiniteError, UserError
from runtime.stop_signal import TerminatedError


def test_user_errors_are_one_line_and_survive_pickling():
    error = UserError("wrong\nthing", where=Path("a/b"), found=None, wanted="more\n than 1", fix="Do it.")
    assert str(error) == "a/b: wrong thing: found None, wanted more than 1. Do it."
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.where == "a/b" and isinstance(again, ValueError)
    assert str(UserError("only this")) == "only this"
    assert str(UserError("empty", found="")) == "empty: found ''"


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("no such", where="x", found=1), 2, "error: x: no such: found 1\n"),
        (OSError(28, "No space left on device"), 1, "failed: OSError: [Errno 28] No space left on device\n"),
        (NonFiniteError("step 3"), 1, "failed: NonFiniteError: step 3\n"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again to continue\n"),
        (TerminatedError(), 143, "terminated: run the same command again to continue\n"),
    ],
)
def test_expected_failures_end_in_one_line(raised, code, line, capsys):
    def main():
        raise raised

    with pytest.raises(SystemExit) as leaving:
        run_entry(main)
    assert leaving.value.code == code and capsys.readouterr().err == line


def allocate_on_the_cpu():
    torch.empty(2**60, dtype=torch.uint8)


def run_out_of_gpu_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1.00 GiB free.")


def lose_a_data_worker():
    raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")


def run_out_of_memory():
    raise MemoryError


@pytest.mark.parametrize("main", [allocate_on_the_cpu, run_out_of_gpu_memory, lose_a_data_worker, run_out_of_memory])
def test_out_of_memory_is_one_line_that_says_what_to_lower(main, capsys):
    with pytest.raises(SystemExit) as leaving:
        run_entry(main)
    line = capsys.readouterr().err
    assert leaving.value.code == 1 and line.startswith("failed: ") and line.count("\n") == 1
    assert line.endswith(" (lower loop.microbatch_size or batch_size)\n")


@pytest.mark.parametrize(
    "defect",
    [
        KeyError("a defect"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Segmentation fault. "),
    ],
)
def test_our_own_defects_keep_their_traceback(defect):
    def main():
        raise defect

    with pytest.raises(type(defect)):
        run_entry(main)


def test_config_and_run_import_no_heavy_library():
    code = "import sys, runtime.run, runtime.config, runtime.loop_config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
