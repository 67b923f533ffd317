"""The house keeps its shape: the README's tree is the disk's, files and functions stay readable, names speak."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "runtime",
    "imagetext",
    "miniweb",
    "llava_train",
    "recaption",
    "clip_train",
    "dit_train",
    "eval",
    "openrecap",
    "benchmarks",
)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "helpers", "common", "misc"}
SOURCES = [path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))]


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listing.splitlines() if Path(line).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_no_file_is_a_grab_bag() -> None:
    assert not [str(path) for path in SOURCES if path.stem in BANNED_NAMES]


def test_every_test_folder_mirrors_a_package() -> None:
    folders = {path.name for path in Path("tests").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders <= set(PACKAGES)


def test_readme_tree_is_the_disk() -> None:
    readme = Path("README.md").read_text()
    match = re.search(r"## The tree\n.*?```text\n(.*?)```", readme, re.DOTALL)
    assert match, "README.md has no section 'The tree' with a text block"
    named = set(re.findall(r"^([\w./-]+?)/?\s{2,}", match.group(1), re.MULTILINE))
    tops = {path.parts[0] for path in tracked_files()} - {".gitignore", ".ci"}
    assert named == tops


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", Path("README.md").read_text(), re.MULTILINE))
    assert named and named <= targets


def shown_commands(page: str) -> list[str]:
    """List a page's commands of this project's modules, continued lines joined."""
    joined = Path(page).read_text().replace("\\\n", " ")
    starts = re.findall(r"^(?:python|torchrun(?: --\S+ [^-]\S*)+) +(-m .+)$", joined, re.MULTILINE)
    return [f"{command} --print_config" for command in starts]


PAGES = ("README.md", "docs/captioner.md", "docs/clip.md", "docs/dit.md", "docs/eval.md", "docs/recaption_data.md")


@pytest.mark.parametrize("command", [command for page in PAGES for command in shown_commands(page)])
def test_commands_are_spelled_as_the_stages_read_them(command: str) -> None:
    printed = subprocess.run([sys.executable, *shlex.split(command)], capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    assert re.search(r"^(out(put)?(_dir)?|shards): ", printed.stdout, re.MULTILINE)


def test_readme_shows_each_stage_on_own_data() -> None:
    stages = {command.split()[1] for command in shown_commands("README.md")}
    assert stages == {"recaption", "llava_train", "clip_train", "dit_train"}


@pytest.mark.parametrize("target", ["reproduce", "quick", "clip"])
def test_make_hands_extra_arguments_to_the_runner(target: str) -> None:
    command = ["make", "--dry-run", target, "ARGS=--redo_stale"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r"openrecap reproduce .*--redo_stale$", printed, re.MULTILINE)


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-vllm.txt"])
def test_every_pin_is_a_name_and_a_version(file: str) -> None:
    lines = [line for line in Path(file).read_text().splitlines() if not line.startswith("# ")]
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+={2,3}[\w.+]+", line)]
