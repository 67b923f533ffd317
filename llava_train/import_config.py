"""What an import of a captioner is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Turn a captioner of the original LLaVA code into a directory that transformers, vLLM and SGLang load."""

    input: Path
    """Folder of the original: config.json of a LlavaLlamaForCausalLM, weights, tokenizer."""
    output: Path
    """Folder to write, whole or not at all."""
    vision_tower: Path | None = None
    """Its CLIP as a transformers directory or Hub name; null takes what `mm_vision_tower` says."""
    chat_template: str | None = None
    """Template it is asked in, by name, needed where its tokenizer has none (LLaMA-3's turns: llama3)."""
    precision: Literal["stored", "fp32", "bf16"] = "stored"
    """Type of the written weights; stored is that of the language model read."""

    def __post_init__(self) -> None:
        if self.output.resolve() == self.input.resolve():
            raise UserError("would be overwritten", where="output", found=str(self.output), wanted="another folder")
