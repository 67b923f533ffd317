"""Greedy decoding of many images under prompts of one length: static shapes, cached keys and values, early leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration

from llava_train.network import embed
from llava_train.parts import language_config

LEAVE_SHARE = 0.25
"""Finished rows leave the batch once they are this share of it: leaving copies the cache."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a captioner said about one image."""

    token_ids: tuple[int, ...]
    """Generated tokens without the stop token."""
    finish_reason: Literal["stop", "length"]
    """Whether the model ended the text or the limit did."""
    mean_logprob: float
    """Mean log-probability of the generated tokens, the stop token included."""


@torch.inference_mode()
def generate(
    llava: LlavaForConditionalGeneration,
    prompt_ids: Int64[Tensor, "batch tokens"],
    pixel_values: Float[Tensor, "batch channel height width"],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
) -> list[Answer]:
    """Continue each prompt greedily until a stop token or the limit; rows are independent of each other's content."""
    stops = torch.tensor(list(stop_ids), device=prompt_ids.device)
    cache = DynamicCache(config=language_config(llava))
    hidden = _advance(llava, cache, embed(llava, prompt_ids, pixel_values))
    rows = torch.arange(len(prompt_ids), device=prompt_ids.device)
    live = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    tokens = torch.full((len(rows), max_new_tokens), int(stops[0]), device=rows.device)
    logprobs = torch.zeros((len(rows), max_new_tokens), device=rows.device)
    lengths = torch.full((len(rows),), max_new_tokens, device=rows.device)
    for place in range(max_new_tokens):
        chosen_logprob, chosen = llava.lm_head(hidden).float().log_softmax(-1).max(-1)
        tokens[rows, place] = chosen
        logprobs[rows, place] = chosen_logprob
        stopped = live & torch.isin(chosen, stops)
        lengths[rows[stopped]] = place
        live = live & ~stopped
        num_live = int(live.sum())
        if num_live == 0 or place == max_new_tokens - 1:
            break
        if num_live <= (1 - LEAVE_SHARE) * len(rows):
            kept = live.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            rows, chosen, live = rows[kept], chosen[kept], live[kept]
        hidden = _advance(llava, cache, embed(llava, chosen.unsqueeze(1), None))
    return _answers(tokens, logprobs, lengths)


def _advance(
    llava: LlavaForConditionalGeneration, cache: DynamicCache, embeddings: Float[Tensor, "batch tokens features"]
) -> Float[Tensor, "batch features"]:
    outputs = llava.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
    return outputs.last_hidden_state[:, -1]


def _answers(
    tokens: Int64[Tensor, "batch limit"], logprobs: Float[Tensor, "batch limit"], lengths: Int64[Tensor, " batch"]
) -> list[Answer]:
    limit = tokens.shape[1]
    answers = []
    for row_tokens, row_logprobs, length in zip(tokens.tolist(), logprobs, lengths.tolist(), strict=True):
        num_scored = min(length + 1, limit)
        answers.append(
            Answer(
                token_ids=tuple(row_tokens[:length]),
                finish_reason="stop" if length < limit else "length",
                mean_logprob=float(row_logprobs[:num_scored].mean()),
            )
        )
    return answers
