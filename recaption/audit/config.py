"""What `python -m recaption audit` is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recaption.input_config import MovedInput
from runtime.errors import UserError

AuditBy = Literal["scenes", "judge"]


@dataclass(frozen=True, kw_only=True)
class ServedModelConfig:
    """One model behind servers that speak OpenAI's chat completions."""

    servers: list[str] = field(default_factory=lambda: ["http://127.0.0.1:8000/v1"])
    """Base URLs; they take turns, and one that fails rests for a while."""
    name: str | None = None
    """The model's name there; left out, the only one that servers list."""
    api_key_file: Path | None = None
    """File that holds the key that servers ask for."""
    dollars_per_million_input_tokens: float = 0.0
    """What servers charge for tokens read."""
    dollars_per_million_output_tokens: float = 0.0
    """What servers charge for tokens written."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise UserError("empty", where="servers", found="[]", wanted="the URL of a server, ending in /v1")
        for url in self.servers:
            if not url.startswith(("http://", "https://")):
                raise UserError("no URL of a server", where="servers", found=url, wanted="http://HOST:PORT/v1")


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """How a vision model is asked about captions, in the protocol of the audit by Oh et al. (NeurIPS 2026)."""

    model: ServedModelConfig = field(default_factory=ServedModelConfig)
    """Answers yes, no or uncertain to each claim, from the picture alone."""
    extractor: ServedModelConfig | None = None
    """Reads the claims out of a caption, without the picture; left out, the same model."""
    words_max: int = 64
    """Words of a caption that are read, as white space separates them; the audit's own budget is 64."""
    max_side_px: int = 1024
    """Longer side to which pictures are shrunk."""
    structured: bool = True
    """Have servers hold the model to the answers' JSON schema; a server that refuses it needs false."""
    thinking: bool | None = None
    """Tell the chat template whether to think first; left out, nothing is told. Qwen's templates want false."""
    max_tokens: int = 4096
    """Longest answer."""
    concurrency: int = 32
    """Requests in flight."""
    timeout_seconds: float = 300.0
    """Longest wait for one answer."""
    attempts: int = 6
    """Most askings of one question; between them it waits, longer every time."""

    def __post_init__(self) -> None:
        for name in ("words_max", "max_side_px", "max_tokens", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=f"judge.{name}", found=getattr(self, name), wanted=">= 1")
        if self.timeout_seconds <= 0:
            raise UserError("out of range", where="judge.timeout_seconds", found=self.timeout_seconds, wanted="> 0")


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Count supported, unsupported and missed claims of a run's captions."""

    recaptions: Path
    """Folder of a `run` or an `import`."""
    by: AuditBy
    """scenes: exactly, where rows carry a scene graph as miniweb's do. judge: by a vision model, for real pictures."""
    columns: list[str] = field(default_factory=lambda: ["org_caption", "re_caption"])
    """Sidecar columns whose captions are audited, on the same rows."""
    num_rows: int = 1000
    """Rows drawn; the audit of Recap-DataComp-1B read about 5,000."""
    seed: int = 0
    """What draws rows."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    dollars_max: float | None = None
    """Refuse to begin when the estimate is above."""
    estimate_only: bool = False
    """Print what the audit will cost, and stop."""
    output_dir: Path | None = None
    """Folder for audit.md, audit.json, captions.jsonl and the answers so far; left out, job/audit inside
    `recaptions`."""
    json: bool = False
    """Print one JSON object instead of Markdown."""
    input: MovedInput = field(default_factory=MovedInput)
    """Where the pictures are, if they moved since the run, or if the captions were imported."""

    def __post_init__(self) -> None:
        if self.num_rows < 2:
            raise UserError("out of range", where="num_rows", found=self.num_rows, wanted=">= 2")
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise UserError("columns", where="columns", found=self.columns, wanted="one or more, each once")
