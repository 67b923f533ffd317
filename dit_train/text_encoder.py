"""The frozen text encoder that every arm of the comparison shares: a transformers CLIP text tower and its tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dit_train.condition import TextCondition
from imagetext.tokenizers import load_hf_tokenizer
from runtime.device import attention_implementation
from runtime.pretrained import load_pretrained


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
        """Load from a folder with a transformers CLIP model (text and vision, or text alone) and its tokenizer.

        `embeddings_alone` hands out the tokens' embeddings as they enter the first layer, without positions.
        """
        from transformers import CLIPTextModel, PreTrainedModel

        implementation = attention_implementation(device)
        self.model: PreTrainedModel = load_pretrained(
            CLIPTextModel, folder, model_types=["clip", "clip_text_model"], attn_implementation=implementation
        )
        self.model.requires_grad_(False).eval()
        self.embeddings_alone = embeddings_alone
        self.tokenizer = load_hf_tokenizer(tokenizer_folder or folder)
        self.context_length: int = self.model.config.max_position_embeddings
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
        return TextCondition(hidden=self.model(input_ids=token_ids).last_hidden_state, mask=mask)

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

    def _move(self, device: torch.device) -> None:
        nn.Module.to(self.model, device)
        self.device = device
