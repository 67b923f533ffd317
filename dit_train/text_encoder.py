"""The frozen text encoder that every arm of the comparison shares: transformers' CLIP text tower, or T5's encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dit_train.condition import TextCondition
from imagetext.tokenizers import load_hf_tokenizer
from runtime.device import attention_implementation
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_CONTEXT_TOKENS = 4096
"""Length beyond which a tokenizer's own limit is none."""


class FrozenTextEncoder:
    """Captions in, hidden states out; never trained."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        tokenizer_folder: Path | None = None,
        embeddings_alone: bool = False,
    ) -> None:
        """Load from a folder with a transformers CLIP model (text and vision, or text alone) or T5, and its tokenizer.

        `embeddings_alone` hands out the tokens' embeddings as they enter the first layer, without positions.
        """
        self.model = _load_model(folder, device)
        self.model.requires_grad_(False).eval()
        self.embeddings_alone = embeddings_alone
        self.tokenizer = load_hf_tokenizer(tokenizer_folder or folder)
        # T5 has no last position: its tokenizer says how long a text may be.
        self.context_length: int = (
            self.tokenizer.model_max_length if self._is_t5 else self.model.config.max_position_embeddings
        )
        if self.context_length > MAX_CONTEXT_TOKENS:
            fix = f"Set model_max_length in its tokenizer_config.json to {MAX_CONTEXT_TOKENS} or less"
            raise UserError("no length of texts", where=folder, found=self.context_length, fix=fix)
        self.width: int = self.model.config.hidden_size
        self._move(device)

    def empty_prompt(self) -> tuple[Int[Tensor, " token"], int]:
        """Return the token ids of the empty prompt, which stands for "no caption", padded, and their number."""
        tokens = self.tokenizer([""], padding="max_length", max_length=self.context_length, return_tensors="pt")
        return tokens.input_ids[0], int(tokens.attention_mask.sum())

    @torch.no_grad()
    def encode(
        self, token_ids: Int[Tensor, "batch token"], lengths: Int[Tensor, " batch"], *, padded: bool = False
    ) -> TextCondition:
        """Encode token ids where they lie; what is past a caption's length is masked, columns past all are cut.

        `padded` leaves all columns, so that shapes do not depend on the captions.
        """
        if token_ids.device != self.device:
            self._move(token_ids.device)
        longest = token_ids.shape[1] if padded else int(lengths.max())
        token_ids = token_ids[:, :longest]
        mask = torch.arange(longest, device=self.device)[None] < lengths[:, None]
        if self.embeddings_alone:
            return TextCondition(hidden=self.model.get_input_embeddings()(token_ids), mask=mask)
        # A causal CLIP never looks at the padding behind a text; T5 would.
        seen = {"attention_mask": mask.long()} if self._is_t5 else {}
        return TextCondition(hidden=self.model(input_ids=token_ids, **seen).last_hidden_state, mask=mask)

    def encode_texts(self, texts: Sequence[str], *, padded: bool = False) -> TextCondition:
        """Encode captions as text, cut to the context length, or also padded to it."""
        tokens = self.tokenizer(
            list(texts),
            padding="max_length" if padded else "longest",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        tokens = tokens.to(self.device)
        return self.encode(tokens.input_ids, tokens.attention_mask.sum(dim=1), padded=padded)

    @property
    def _is_t5(self) -> bool:
        return self.model.config.model_type == "t5"

    def _move(self, device: torch.device) -> None:
        nn.Module.to(self.model, device)
        self.device = device


def _load_model(folder: Path, device: torch.device) -> "PreTrainedModel":
    """Load the encoder that a folder's config names; CLIP unless it says T5."""
    from transformers import CLIPTextModel, T5EncoderModel

    config = folder / "config.json"
    model: PreTrainedModel
    if config.is_file() and read_object(config).get("model_type") == "t5":
        # T5 adds its positions to the scores and has one way to attend.
        model = load_pretrained(T5EncoderModel, folder, model_types=["t5"])
    else:
        implementation = attention_implementation(device)
        model = load_pretrained(
            CLIPTextModel, folder, model_types=["clip", "clip_text_model"], attn_implementation=implementation
        )
    return model
