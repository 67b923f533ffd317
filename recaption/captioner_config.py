"""Settings of the captioners that are not the embedded one: servers, and vLLM in the process."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from runtime.errors import UserError

CaptionerName = Literal["transformers", "vllm", "openai"]
ImageFormat = Literal["png", "jpeg"]


@dataclass(frozen=True, kw_only=True)
class OpenAIConfig:
    """Ask servers that speak OpenAI's chat completions: vLLM, SGLang, llama.cpp and others."""

    servers: list[str] = field(default_factory=lambda: ["http://127.0.0.1:8000/v1"])
    """Base URLs of servers of one and the same model; they take turns, and one that fails is left out for a while."""
    served_name: str | None = None
    """Name under which servers know the model; left out, `model` where they list it, else the only one they list."""
    api_key_file: Path | None = None
    """File that holds the key servers ask for; keys never stand in a config, which is kept beside the captions."""
    concurrency: int = 64
    """Requests in flight over all servers."""
    timeout_seconds: float = 120.0
    """Longest wait for one answer."""
    attempts: int = 6
    """Most askings of one prompt about one row; between them it waits, longer every time."""
    row_seconds: float = 900.0
    """Longest time for one row, all askings and waits together."""
    image_format: ImageFormat = "png"
    """How pictures travel: png loses nothing; jpeg is a fifth of the bytes, at quality 95."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise UserError("empty", where="openai.servers", found="[]", wanted="the URL of a server, ending in /v1")
        for url in self.servers:
            if not url.startswith(("http://", "https://")):
                raise UserError("no URL of a server", where="openai.servers", found=url, wanted="http://HOST:PORT/v1")
            if urlsplit(url).username is not None or urlsplit(url).query:
                # The config is kept beside the captions, and this error may be kept in a log.
                wanted = "a bare URL; a key goes into openai.api_key_file"
                raise UserError("a URL that may hold a key", where="openai.servers", wanted=wanted)
        for name in ("concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=f"openai.{name}", found=getattr(self, name), wanted=">= 1")
        for name in ("timeout_seconds", "row_seconds"):
            if getattr(self, name) <= 0:
                raise UserError("out of range", where=f"openai.{name}", found=getattr(self, name), wanted="> 0")


@dataclass(frozen=True, kw_only=True)
class VllmConfig:
    """vLLM in the worker's process."""

    max_sequences: int = 256
    """Answers under way at once; as many again wait prepared, so that a step never lacks work."""
    max_batched_tokens: int = 8192
    """Most tokens of a step, prompts and answers together."""
    max_model_tokens: int | None = None
    """Longest prompt and answer; left out, the model's own limit. A smaller one saves memory."""
    memory_share: float = 0.9
    """Share of a GPU's memory that vLLM takes."""
    kv_cache_gib: float | None = None
    """Memory for keys and values, in place of what `memory_share` leaves for them; a CPU wants it said."""
    eager: bool = False
    """Run without compiled graphs: starts in a fraction of the time, steps take longer."""
    tensor_parallel: int = 1
    """GPUs that one worker's model is spread over."""
    quantization: str | None = None
    """vLLM's name of a quantisation, such as fp8; left out, none but the model's own."""

    def __post_init__(self) -> None:
        for name in ("max_sequences", "max_batched_tokens", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=f"vllm.{name}", found=getattr(self, name), wanted=">= 1")
        if not 0 < self.memory_share <= 1:
            raise UserError("out of range", where="vllm.memory_share", found=self.memory_share, wanted="in (0, 1]")
        for name in ("max_model_tokens", "kv_cache_gib"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError("out of range", where=f"vllm.{name}", found=value, wanted="> 0")
