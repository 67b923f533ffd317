"""Attention on CPU: plain matrix products beside torch's fused attention, in both precisions."""

from dataclasses import dataclass

import torch

from benchmarks.race import Contender, race, table, timed
from benchmarks.transformer import Attention, Transformer, random_tokens

ABOUT = """\
A training step (forward, mean square as loss, backward, AdamW) of a small transformer on CPU. "eager" is matrix
product, softmax, matrix product; "sdpa" is `torch.nn.functional.scaled_dot_product_attention`. bf16 is autocast;
weights stay in float32. This decides what `runtime.device.attention_implementation` answers for a CPU."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is trained."""

    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    num_tokens: int = 80
    batch_size: int = 32
    num_steps: int = 6


SIZES = {"full": Size(), "tiny": Size(width=16, num_layers=1, num_heads=2, num_tokens=4, batch_size=2, num_steps=1)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of training steps in each way."""
    contenders = [
        _contender(attention, precision, size)
        for precision in ("fp32", "bf16")
        for attention in ("sdpa", "eager")
    ]  # fmt: skip
    results = race(contenders, repeats=repeats)
    shape = f"Width {size.width}, {size.num_layers} layers, {size.num_heads} heads"
    return f"{shape}, {size.batch_size} samples of {size.num_tokens} tokens.\n\n{table(results, unit='samples')}"


def _contender(attention: Attention, precision: str, size: Size) -> Contender:
    torch.manual_seed(0)
    model = Transformer(
        width=size.width, num_layers=size.num_layers, num_heads=size.num_heads, attention=attention
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = random_tokens(size.batch_size, size.num_tokens, size.width)

    def steps() -> None:
        for _ in range(size.num_steps):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                features = model(inputs)
            features.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return Contender(
        name=f"{attention} {precision}", seconds=lambda: timed(steps), num_items=size.batch_size * size.num_steps
    )
