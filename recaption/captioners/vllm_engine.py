"""vLLM's engine as a captioning job wants it: no caches that nothing is found in, no GPUs but the worker's own."""

import os
from contextlib import suppress
from multiprocessing import connection
from threading import Thread

from vllm import EngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.llm_engine import LLMEngine

from llava_train.hub import local_folder
from recaption.captioners.vllm_on_cpu import start_on_cpu
from recaption.config import RecaptionConfig
from recaption.prompts import decodings_for
from runtime.errors import UserError


def open_engine(config: RecaptionConfig, *, share_prefixes: bool) -> LLMEngine:
    """Start an engine; `share_prefixes` keeps what prompts about one picture have in common.

    Raises UserError for a model or settings that vLLM refuses.
    """
    _pin_devices(config.vllm.tensor_parallel)
    try:
        arguments = _arguments(config, share_prefixes=share_prefixes)
        if current_platform.is_cpu() and _samples(config):
            _read_prompts_whole(arguments)
        engine = _start(arguments)
    except ValueError as error:
        found = " ".join(str(error).split())[:600]
        raise UserError("vLLM refuses this model or these settings", where=config.model, found=found) from error
    _tell_of_death(engine)
    return engine


def _start(arguments: EngineArgs) -> LLMEngine:
    if current_platform.is_cpu() and arguments.tensor_parallel_size == 1:
        return start_on_cpu(arguments)
    return LLMEngine.from_engine_args(arguments)


def _tell_of_death(engine: LLMEngine) -> None:
    """Have a step raise that waits for a killed process: vLLM 0.32 notices the death, and lets it wait for ever."""
    # Neither of these keeps the engine alive, which ends its processes once nobody has it.
    sentinels, answers = engine.engine_core.resources.engine_manager.sentinels(), engine.engine_core.outputs_queue

    def watch() -> None:
        with suppress(OSError, ValueError):
            connection.wait(sentinels)
        answers.put_nowait(EngineDeadError())

    Thread(target=watch, name="vLLM's processes", daemon=True).start()


def _arguments(config: RecaptionConfig, *, share_prefixes: bool) -> EngineArgs:
    settings = config.vllm
    memory = None if settings.kv_cache_gib is None else int(settings.kv_cache_gib * 2**30)
    return EngineArgs(
        model=str(local_folder(config.model)),
        dtype="bfloat16" if config.precision == "bf16" else "float32",
        max_num_seqs=settings.max_sequences,
        max_num_batched_tokens=settings.max_batched_tokens,
        max_model_len=settings.max_model_tokens,
        gpu_memory_utilization=settings.memory_share,
        kv_cache_memory_bytes=memory,
        enforce_eager=settings.eager,
        tensor_parallel_size=settings.tensor_parallel,
        quantization=settings.quantization,
        limit_mm_per_prompt={"image": 1},
        # A picture comes once: to keep what is made of it would cost memory and a hash of its pixels for nothing.
        mm_processor_cache_gb=0,
        # Requests share no more than the few tokens before the picture, unless several are about one.
        enable_prefix_caching=share_prefixes,
        # Settings of sampling in the model's directory are not this job's.
        generation_config="vllm",
        disable_log_stats=True,
        seed=config.seed,
    )


def _samples(config: RecaptionConfig) -> bool:
    return "sampled" in config.repair.steps or not all(decoding.greedy for decoding in decodings_for(config))


def _read_prompts_whole(arguments: EngineArgs) -> None:
    """Never divide a prompt between steps: vLLM takes the draw of a divided one back, and a CPU's generator can't."""
    arguments.enable_chunked_prefill = False
    longest = arguments.create_model_config().max_model_len
    arguments.max_num_batched_tokens = max(arguments.max_num_batched_tokens or 0, longest)


def _pin_devices(num_devices: int) -> None:
    """Show vLLM's own processes the GPUs of this worker alone, of which the worker has chosen the first."""
    import torch

    count = torch.cuda.device_count()
    if count <= num_devices:
        return
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    names = visible or [str(index) for index in range(count)]
    first = torch.cuda.current_device() * num_devices
    chosen = [names[(first + offset) % count] for offset in range(num_devices)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
