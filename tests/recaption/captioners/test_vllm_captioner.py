"""Whole jobs by vLLM, in the process and as a server, tar to parquet: they say what the embedded captioner says."""

import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from imagetext.caption_flags.names import ALT_TEXT_COPIED, CONDITION_DROPPED
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import read_sidecar_table
from recaption import verbs
from recaption.__main__ import main
from recaption.agreement.config import AgreeConfig
from recaption.agreement.verb import agree
from recaption.config import VerifyConfig
from tests.llava_train.test_vllm import NUM_HELD_OUT, PYTHON, captioner_folder, held_out  # noqa: F401 - fixtures

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]
ROWS_PER_SHARD = 16
SHARDS = [f"{index:05d}" for index in range(NUM_HELD_OUT // ROWS_PER_SHARD)]
COPIED = "On the left it is red, on the right black."
"""An alt-text in the very words of the captioner's answers."""
PROMPTS = '{short: "What is it?", known: "@conditioned"}'
MODEL_TOKENS = 512
START_SECONDS_MAX = 900
EQUAL_DRAWS_MIN = 0.9
"""Drawn captions that are equal at least, as far as tokens that are as likely within rounding can change places."""


@dataclass(frozen=True)
class Job:
    """A finished job, what it wrote to stderr, and what else is known of it."""

    folder: Path
    said: str
    found: Any = None

    def rows(self) -> list[dict[str, Any]]:
        return [row for name in SHARDS for row in read_sidecar_table(self.folder, name).to_pylist()]


@pytest.fixture(scope="module")
def shards(held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811 - the fixture imported above
    """Shards of the held-out pictures; every fourth alt-text is what the captioner would say."""
    folder = tmp_path_factory.mktemp("shards")
    pictures = sorted(held_out.iterdir())
    for shard in range(len(SHARDS)):
        rows = []
        for index in range(ROWS_PER_SHARD):
            buffer = io.BytesIO()
            Image.open(pictures[shard * ROWS_PER_SHARD + index]).save(buffer, "PNG")
            caption = COPIED if index % 4 == 0 else f"lot {index}"
            key = make_key(shard, index)
            rows.append(ShardRow(key=key, image=buffer.getvalue(), extension="png", caption=caption, metadata={}))
        write_shard(folder, shard, rows)
    return folder


def arguments(model: Path, shards: Path, folder: Path, captioner: str) -> list[str]:
    job = ["--model", model, "--shards", shards, "--output_dir", folder, "--captioner", captioner]
    decoding = ["--more_prompts", PROMPTS, "--max_new_tokens", "24", "--precision", "fp32"]
    return ["run", *map(str, job), *decoding, "--device", "cpu", "--batch_size", "16", "--engine.supervised", "false"]


@pytest.fixture(scope="module")
def ours(captioner_folder: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:  # noqa: F811
    folder = tmp_path_factory.mktemp("embedded") / "side"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["recaption", *arguments(captioner_folder, shards, folder, "transformers")])
        main()
    return Job(folder, "")


@pytest.fixture(scope="module")
def in_process(captioner_folder: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:  # noqa: F811
    home = tmp_path_factory.mktemp("in_process")
    settings = {"max_sequences": 24, "max_model_tokens": MODEL_TOKENS, "kv_cache_gib": 0.125, "eager": "true"}
    words = [word for name, value in settings.items() for word in (f"--vllm.{name}", str(value))]
    program = ["-m", "tests.recaption.captioners.vllm_program", str(home / "found.json")]
    done = subprocess.run(
        [str(PYTHON), *program, *arguments(captioner_folder, shards, home / "side", "vllm"), *words],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS_MAX,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return Job(home / "side", done.stderr, json.loads((home / "found.json").read_text()))


@pytest.fixture(scope="module")
def by_server(captioner_folder: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:  # noqa: F811
    home = tmp_path_factory.mktemp("by_server")
    with served(captioner_folder, home) as url, pytest.MonkeyPatch.context() as patch:
        words = ["--openai.servers", json.dumps([url]), "--openai.concurrency", "16"]
        patch.setattr("sys.argv", ["recaption", *arguments(captioner_folder, shards, home / "side", "openai"), *words])
        main()
    return Job(home / "side", "")


def environment(home: Path) -> dict[str, str]:
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    return {**quiet, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}", "HOME": str(home)}


@pytest.mark.parametrize("name", ["in_process", "by_server"])
def test_a_job_says_what_the_embedded_captioner_says(name: str, ours: Job, request: pytest.FixtureRequest) -> None:
    other: Job = request.getfixturevalue(name)
    verbs.verify(VerifyConfig(output_dir=other.folder))
    agree(AgreeConfig(recaptions=ours.folder, other=other.folder, device="cpu"))
    rows = other.rows()
    assert [row["status"] for row in rows] == ["success"] * NUM_HELD_OUT
    assert {row["finish_reason"] for row in rows} == {"stop"}
    assert all(0 < row["num_tokens"] < 24 and row["mean_logprob"] <= 0 for row in rows)
    for row, our_row in zip(rows, ours.rows(), strict=True):
        if row["re_caption"] == our_row["re_caption"]:
            assert row["num_tokens"] == our_row["num_tokens"]
            assert row["mean_logprob"] == pytest.approx(our_row["mean_logprob"], abs=1e-3)
    # A model whose tower was not loaded says the same of every picture.
    assert len({row["re_caption"] for row in rows}) >= 6


@pytest.mark.parametrize("name", ["ours", "in_process", "by_server"])
def test_alt_texts_given_back_are_flagged_and_asked_for_again(name: str, request: pytest.FixtureRequest) -> None:
    other: Job = request.getfixturevalue(name)
    rows = other.rows()
    repaired = [bool(row["repairs"]) for row in rows]
    given_back = [index for index, row in enumerate(rows) if row["org_caption"] == COPIED]
    assert [index for index, again in enumerate(repaired) if again] == given_back
    for index in given_back:
        assert CONDITION_DROPPED in rows[index]["flags"] and ALT_TEXT_COPIED in rows[index]["repairs"][0]


def test_draws_are_those_of_the_seed_the_key_and_the_prompt(in_process: Job, by_server: Job) -> None:
    pairs = list(zip(in_process.rows(), by_server.rows(), strict=True))
    equal = [one["re_caption_known"] == other["re_caption_known"] for one, other in pairs]
    assert sum(equal) >= EQUAL_DRAWS_MIN * len(equal)


def test_the_engine_holds_rows_of_the_next_shard_before_a_shard_is_done(in_process: Job) -> None:
    together = [set(held) for held in in_process.found["held_together"]]
    for shard, following in pairwise(SHARDS):
        assert any({shard, following} <= held for held in together), f"drained between {shard} and {following}"


def test_squares_are_rendered_as_the_engines_own_processor_would(in_process: Job) -> None:
    assert in_process.found["knows_squares"]


def test_a_dead_engine_is_said_and_replaced_and_no_row_is_lost(in_process: Job) -> None:
    assert in_process.found["num_engines"] == 2
    assert "captioner lost (CaptionerLostError: EngineDeadError" in in_process.said


def test_a_request_longer_than_the_model_reads_is_its_rows_fault(in_process: Job) -> None:
    refused = in_process.found["too_much"]
    assert refused["kind"] == "rejected" and str(MODEL_TOKENS) in refused["message"]


@contextmanager
def served(model: Path, folder: Path) -> Iterator[str]:
    """Run vLLM's server on a free port; give its base URL once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # vLLM's own command asks for the version of a package that is called otherwise where it is built for CPUs.
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", str(MODEL_TOKENS), "--max-num-seqs", "16", "--enforce-eager"]
    command += ["--kv-cache-memory-bytes", str(2**27), "--mm-processor-cache-gb", "0", "--no-enable-chunked-prefill"]
    log = folder / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment(folder), cwd=folder, stdout=file, stderr=file)
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(url, server, log)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    patience = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < patience:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            if httpx.get(f"{url}/models", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    raise AssertionError(f"the server did not start: {log.read_text()[-4000:]}")
