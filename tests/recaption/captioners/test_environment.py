"""A captioning job needs no package that vLLM's own environment lacks."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]
OURS = {"openrecap"}
MODULES = (
    "recaption.verbs", "recaption.executors.local", "recaption.engine.worker", "recaption.captioners.opening",
    "recaption.captioners.openai_captioner", "recaption.captioners.rendering", "recaption.agreement.verb",
)  # fmt: skip
PROGRAM = """
import importlib, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
for module in MODULES:
    importlib.import_module(module)
"""


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_job_is_imported_with_the_pinned_packages_alone() -> None:
    lines = (ROOT / "constraints-vllm.txt").read_text().splitlines()
    pinned = {normalised(re.split(r"[=<>\[ ;]", line)[0]) for line in lines if line and not line.startswith("#")}
    installed = packages_distributions()
    blocked = {package for package, names in installed.items() if not pinned & {normalised(name) for name in names}}
    blocked -= {package for package, names in installed.items() if OURS & {normalised(name) for name in names}}
    assert {"scipy", "deepspeed", "open_clip"} <= blocked
    program = f"BLOCKED, MODULES = {sorted(blocked)}, {MODULES}{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
