"""The frozen text encoder that every arm of the comparison shares: a transformers CLIP text tower and its tokenizer."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dit_train.flow import TextCondition
from runtime.device import attention_implementation
from runtime.errors import UserError


class FrozenTextEncoder:
    """Captions in, hidden states out; never trained."""

    def __init__(self, folder: Path, device: torch.device, *, tokenizer_folder: Path | None = None) -> None:
        """Load from a folder with a transformers CLIP model (text and vision, or text alone) and its tokenizer."""
        from transformers import AutoTokenizer, CLIPTextModel, PreTrainedModel

        _require_clip(folder)
        implementation = attention_implementation(device)
        self.model: PreTrainedModel = CLIPTextModel.from_pretrained(folder, attn_implementation=implementation)
        self.model.requires_grad_(False).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder or folder)
        self.context_length: int = self.model.config.max_position_embeddings
        self.width: int = self.model.config.hidden_size
        self._move(device)

    def empty_prompt(self) -> tuple[Int[Tensor, " token"], int]:
        """Return the token ids of the empty prompt, which stands for "no caption", padded, and their number."""
        tokens = self.tokenizer([""], padding="max_length", max_length=self.context_length, return_tensors="pt")
        return tokens.input_ids[0], int(tokens.attention_mask.sum())

    @torch.no_grad()
    def encode(self, token_ids: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"]) -> TextCondition:
        """Encode token ids where they lie; what is past a caption's length is masked, columns past all are cut."""
        if token_ids.device != self.device:
            self._move(token_ids.device)
        longest = int(lengths.max())
        output = self.model(input_ids=token_ids[:, :longest])
        mask = torch.arange(longest, device=self.device)[None] < lengths[:, None]
        return TextCondition(hidden=output.last_hidden_state, mask=mask)

    def encode_texts(self, texts: Sequence[str]) -> TextCondition:
        """Encode captions as text, cut to the context length."""
        tokens = self.tokenizer(
            list(texts), padding="longest", truncation=True, max_length=self.context_length, return_tensors="pt"
        )
        tokens = tokens.to(self.device)
        return self.encode(tokens.input_ids, tokens.attention_mask.sum(dim=1))

    def _move(self, device: torch.device) -> None:
        nn.Module.to(self.model, device)
        self.device = device


def _require_clip(folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        fix = "Give the `hf` folder that clip_train exports, or any transformers CLIP folder."
        raise UserError("no text encoder here", where=str(folder), wanted="a folder with config.json", fix=fix)
    model_type = json.loads(config.read_text()).get("model_type")
    if model_type not in ("clip", "clip_text_model"):
        raise UserError("not a CLIP model", where=str(config), found=model_type, wanted="clip or clip_text_model")
