"""vLLM behind the seam, in the process and as a server: greedy captions are those of the embedded captioner."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from recaption.captioner_config import OpenAIConfig
from recaption.captioners.base import Answered, Captioner, Request
from recaption.captioners.opening import open_captioner
from recaption.config import RecaptionConfig
from tests.llava_train.test_vllm import NUM_HELD_OUT, PYTHON, captioner_folder, held_out  # noqa: F401 - fixtures
from tests.recaption.captioners.vllm_program import MAX_NEW_TOKENS, SHORT

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]
EQUAL_SHARE_MIN = 0.95
"""Captions that are equal at least; others part at a tie of two tokens."""
START_SECONDS_MAX = 900

Texts = dict[int, tuple[str, ...]]


def config(model: Path, **fields: Any) -> RecaptionConfig:
    defaults = {"precision": "fp32", "device": "cpu", "batch_size": 16, "max_new_tokens": MAX_NEW_TOKENS}
    fields = {**defaults, "more_prompts": {"short": SHORT}, **fields}
    return RecaptionConfig(model=model, output_dir=Path("side"), shards="shards", **fields)


def captions(captioner: Captioner, pictures: Path) -> Texts:
    """Return texts by ticket, the prompt's and the short prompt's."""
    prompts = (RecaptionConfig.prompt, SHORT)
    requests = [
        Request(
            ticket=ticket, picture=captioner.prepare(Image.open(path).convert("RGB")), prompts=prompts, key=path.name
        )
        for ticket, path in enumerate(sorted(pictures.iterdir()))
    ]
    results = list(captioner.answer(iter(requests)))
    assert len({result.ticket for result in results}) == len(results) == NUM_HELD_OUT
    return {
        result.ticket: tuple(caption.text for caption in result.captions)
        for result in results
        if isinstance(result, Answered)
    }


@pytest.fixture(scope="module")
def ours(captioner_folder: Path, held_out: Path) -> Texts:  # noqa: F811 - the fixtures imported above
    return captions(open_captioner(config(captioner_folder)), held_out)


@pytest.fixture(scope="module")
def in_process(captioner_folder: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:  # noqa: F811
    output = tmp_path_factory.mktemp("vllm") / "found.json"
    words = ["-m", "tests.recaption.captioners.vllm_program", str(captioner_folder), str(held_out), str(output)]
    done = subprocess.run(
        [str(PYTHON), *words],
        env=environment(output.parent),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS_MAX,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads(output.read_text())


def environment(home: Path) -> dict[str, str]:
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    return {**quiet, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}", "HOME": str(home)}


def equal_share(found: Texts, wanted: Texts) -> float:
    assert found.keys() == wanted.keys()
    pairs = [pair for ticket in wanted for pair in zip(found[ticket], wanted[ticket], strict=True)]
    return sum(one == other for one, other in pairs) / len(pairs)


def test_the_engine_in_the_process_says_what_the_embedded_captioner_says(
    in_process: Mapping[str, Any], ours: Texts
) -> None:
    results = {int(ticket): result for ticket, result in in_process["results"].items()}
    broken = results.pop(-1)
    assert broken["kind"] == "rejected" and broken["message"]
    found = {ticket: tuple(caption["text"] for caption in result) for ticket, result in results.items()}
    assert equal_share(found, ours) >= EQUAL_SHARE_MIN
    # A model whose tower was not loaded says the same of every picture.
    assert len({texts[0] for texts in found.values()}) >= 6


def test_what_the_engine_says_of_captions_is_whole(in_process: Mapping[str, Any]) -> None:
    first = [result[0] for ticket, result in in_process["results"].items() if ticket != "-1"]
    assert {caption["finish_reason"] for caption in first} == {"stop"}
    assert all(0 < caption["num_tokens"] < MAX_NEW_TOKENS and caption["mean_logprob"] <= 0 for caption in first)


def test_captions_come_out_before_all_rows_went_in(in_process: Mapping[str, Any]) -> None:
    assert in_process["asked_at_first"] < NUM_HELD_OUT


def test_a_server_says_what_the_embedded_captioner_says(
    captioner_folder: Path,  # noqa: F811
    held_out: Path,  # noqa: F811
    ours: Texts,
    tmp_path: Path,
) -> None:
    with served(captioner_folder, tmp_path) as url:
        openai = OpenAIConfig(servers=[url], concurrency=16)
        captioner = open_captioner(config(captioner_folder, captioner="openai", openai=openai))
        found = captions(captioner, held_out)
    assert equal_share(found, ours) >= EQUAL_SHARE_MIN


@contextmanager
def served(model: Path, folder: Path) -> Iterator[str]:
    """Run vLLM's server on a free port; give its base URL once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # vLLM's own command asks for the version of a package that is called otherwise where it is built for CPUs.
    command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "128", "--max-num-seqs", "16", "--enforce-eager"]
    command += ["--kv-cache-memory-bytes", str(2**27), "--mm-processor-cache-gb", "0"]
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
