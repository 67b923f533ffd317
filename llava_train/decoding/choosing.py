"""The next token of every row, chosen on the device: the likeliest, or drawn from the likeliest few."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_WORD = 2**64
_UNIFORM_BITS = 53
# SplitMix64 (Steele, Lea and Flood 2014): its stride, and the two factors of its finaliser with their shifts.
_STRIDE = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def choose_likeliest(
    logits: Float[Tensor, "rows vocabulary"],
) -> tuple[Int64[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Return each row's likeliest token and its log-probability in float32."""
    tokens = logits.argmax(-1, keepdim=True)
    logprobs = logits.log_softmax(-1, dtype=torch.float32)
    return tokens.squeeze(1), logprobs.gather(1, tokens).squeeze(1)


def choose_among_likeliest(
    logits: Float[Tensor, "rows vocabulary"],
    *,
    max_top_k: int,
    top_k: Int64[Tensor, " rows"],
    temperature: Float[Tensor, " rows"],
    seeds: Int64[Tensor, " rows"],
    places: Int64[Tensor, " rows"],
) -> tuple[Int64[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Return a token drawn from each row's `top_k` likeliest, and its log-probability under the model as it is.

    By the Gumbel trick: the largest of logit / temperature plus noise. The noise is a hash of (seed, place in the
    answer, token), so that a row draws the same whatever stands beside it and wherever it runs. Top-1 rows are greedy.
    """
    scores = logits.float()
    likeliest, tokens = scores.topk(max_top_k, dim=-1)
    noise = -(-hashed_uniform(seeds.unsqueeze(1), places.unsqueeze(1), tokens).log()).log()
    drawn = likeliest.double() / temperature.double().unsqueeze(1) + noise
    ranks = tokens.new_ones(tokens.shape).cumsum(-1)
    chosen = drawn.masked_fill(ranks > top_k.unsqueeze(1), float("-inf")).argmax(-1, keepdim=True)
    logprobs = likeliest.gather(1, chosen).squeeze(1) - scores.logsumexp(-1)
    return tokens.gather(1, chosen).squeeze(1), logprobs


def hashed_uniform(
    seeds: Int64[Tensor, "rows 1"], places: Int64[Tensor, "rows 1"], tokens: Int64[Tensor, "rows few"]
) -> Float[Tensor, "rows few"]:
    """Return a number in (0, 1) in float64 for every token, a hash of the three; integers wrap around at 64 bits."""
    word = _mixed(_mixed(seeds + _signed(_STRIDE) * (places + 1)) + _signed(_STRIDE) * (tokens + 1))
    return (_shifted(word, 64 - _UNIFORM_BITS).double() + 0.5) / 2**_UNIFORM_BITS


def _mixed(word: Tensor) -> Tensor:
    for shift, factor in _ROUNDS:
        word = (word ^ _shifted(word, shift)) * _signed(factor)
    return word ^ _shifted(word, _LAST_SHIFT)


def _shifted(word: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (word >> bits) & (2 ** (64 - bits) - 1)


def _signed(word: int) -> int:
    return word - _WORD if word >= _WORD // 2 else word
