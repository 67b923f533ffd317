"""Cluster files parse, and their commands are spelled as the verbs read them."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from recaption.__main__ import CONFIGS, spell_out
from recaption.config import RecaptionConfig
from recaption.executors.partition import Part
from runtime.config import parse

SLURM = Path("launch/slurm/recaption.sbatch")
KUBERNETES = Path("launch/kubernetes/recaption.yaml")
PAGE = Path("docs/scale.md")


def parsed(words: list[str]) -> Any:
    """Return the config of `VERB ARGUMENTS`."""
    verb, *argv = words
    return parse(CONFIGS[verb], spell_out(verb, argv), prog="recaption", description="")


def commands(text: str) -> list[list[str]]:
    """List the words after `python -m recaption` of each command, continued lines joined."""
    return [shlex.split(line) for line in re.findall(r"python -m recaption (.+)", text.replace("\\\n", " "))]


@pytest.mark.parametrize("index", range(len(commands(PAGE.read_text()))))
def test_commands_of_the_page(index: int) -> None:
    words = commands(PAGE.read_text())[index]
    config = parsed(words)
    assert str(config.output_dir) == "/runs/recaptions"
    if "--json" in words:
        assert config.json
    if "--executor" in words:
        assert config.executor == "ray" and config.ray.address == "auto" and config.ray.cpus_per_captioner == 8


def shell_lines(text: str) -> list[list[str]]:
    """List the words of every line of the page's shell blocks, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", text.replace("\\\n", " "), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def test_what_the_page_has_typed_besides_is_there() -> None:
    others = [words for words in shell_lines(PAGE.read_text()) if words[0] != "python"]
    assert {words[0] for words in others} == {"sbatch", "kubectl", "pip", "ray"}
    for words in others:
        if words[0] == "sbatch":
            exported = dict(item.split("=") for item in words[1].removeprefix("--export=ALL,").split(","))
            script = Path(words[2]).read_text()
            assert set(re.findall(r'"\$(\w+)"', script)) == set(exported)
        elif words[0] == "kubectl":
            assert words[1:] == ["apply", "-f", str(KUBERNETES)]
        elif words[0] == "pip":
            extra = re.fullmatch(r"openrecap\[(\w+)\]", words[-1])
            project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
            assert extra and any(name.startswith("ray") for name in project["optional-dependencies"][extra[1]])


def test_what_the_page_tells_ray_is_what_ray_reads() -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    lines = [words[1:] for words in shell_lines(PAGE.read_text()) if words[0] == "ray"]
    given = [scripts.start.make_context(words[0], words[1:]).params for words in lines]
    assert [(params["head"], params["address"]) for params in given] == [(True, None), (False, "HEAD:6379")]


def test_the_page_shows_every_way_and_files_that_exist() -> None:
    text = PAGE.read_text()
    assert {words[0] for words in commands(text)} == {"run", "status", "verify"}
    named = re.findall(r"launch/[\w./]+\w", text)
    assert set(named) == {str(SLURM), str(KUBERNETES)} and all(Path(name).is_file() for name in named)


def test_the_tasks_of_the_slurm_array_are_the_parts_of_a_job() -> None:
    text = SLURM.read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.+))?$", text, re.MULTILINE))
    first, last = map(int, options["array"].split("-"))
    (count,) = re.findall(r"NUM_PARTS:-(\d+)", text)
    (command,) = commands(text.split("set -eu")[1])
    values = {"SHARDS": "s", "MODEL": "m", "RUN": "r", "NUM_PARTS": count}
    parts = []
    for index in range(first, last + 1):
        filled = [_expanded(word, {**values, "SLURM_ARRAY_TASK_ID": str(index)}) for word in command]
        config = parsed(filled)
        parts.append(Part.parse(config.part))
        assert config.workers == int(options["gpus-per-task"])
    assert parts == [Part(index, int(count)) for index in range(int(count))]


def test_the_pods_of_the_indexed_job_are_the_parts_of_a_job() -> None:
    job = yaml.safe_load(KUBERNETES.read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "recaption", "run"]
    parts = []
    for index in range(spec["completions"]):
        config = parsed(["run", *(word.replace("$(PART)", str(index)) for word in container["args"])])
        assert isinstance(config, RecaptionConfig)
        parts.append(Part.parse(config.part))
        assert config.workers == container["resources"]["limits"]["nvidia.com/gpu"]
    assert parts == [Part(index, spec["completions"]) for index in range(spec["completions"])]
    (variable,) = container["env"]
    assert "job-completion-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
    # Kubernetes takes a policy on failures only where pods are never restarted in place.
    assert spec["podFailurePolicy"] and pod["restartPolicy"] == "Never"
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def _expanded(word: str, values: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], word)
