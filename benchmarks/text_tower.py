"""A CLIP text tower in training: open_clip's own forward pass beside one without padding and without unpooled ends."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.race import Contender, race, table, timed
from clip_train.architecture import WORDPIECE_END_ID, build_model, model_config
from clip_train.contrastive import attention_kernels
from clip_train.presets import find_preset
from clip_train.text_tower import encode_text

ABOUT = """\
Forward and backward pass of a CLIP's text tower on CPU, bf16 autocast. "open_clip" is `CLIP.encode_text` on texts
padded to the context length, as open_clip trains; "cut" the same on texts cut to the longest of the batch; "pooled" is
`clip_train.text_tower.encode_text`: texts in two groups by length, the last block computed at their ends alone.
Features and gradients are equal (tests/clip_train/test_text_tower.py). One text in five is as long as a recaption,
40 to 70 tokens, the others as alt-text, 6 to 19."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is computed."""

    models: tuple[str, ...] = ("b_base", "b_large")
    context_length: int = 128
    batch_size: int = 64
    num_passes: int = 8
    long_share: float = 0.2


SIZES = {"full": Size(), "tiny": Size(models=("s_small",), context_length=80, batch_size=5, num_passes=1)}


def measure(size: Size, repeats: int) -> str:
    """Return a table for each model."""
    parts = []
    for name in size.models:
        results = race(_contenders(name, size), repeats=repeats)
        parts.append(f"{name}, {size.batch_size} texts:\n\n{table(results, unit='texts')}")
    return "\n\n".join(parts)


def _contenders(name: str, size: Size) -> list[Contender]:
    config = model_config(find_preset(name), image_size_px=48, vocab_size=2600, context_length=size.context_length)
    model = build_model(config, seed=0)
    ids, lengths = _texts(size)
    longest = int(lengths.max())
    cut = build_model({**config, "text_cfg": {**config["text_cfg"], "context_length": longest}}, seed=0)

    def contender(way: str, encode: Callable[[], Tensor]) -> Contender:
        def passes() -> None:
            for _ in range(size.num_passes):
                with torch.autocast("cpu", torch.bfloat16), attention_kernels(torch.device("cpu")):
                    features = encode()
                features.float().square().mean().backward()

        return Contender(name=way, seconds=lambda: timed(passes), num_items=size.batch_size * size.num_passes)

    return [
        contender("open_clip", lambda: model.encode_text(ids)),
        contender("cut", lambda: cut.encode_text(ids[:, :longest])),
        contender("pooled", lambda: encode_text(model, ids, lengths)),
    ]


def _texts(size: Size) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(6, 20, (size.batch_size,), generator=generator)
    num_long = int(size.long_share * size.batch_size)
    lengths[:num_long] = torch.randint(40, 71, (num_long,), generator=generator)
    ids = torch.randint(4, 2600, (size.batch_size, size.context_length), generator=generator)
    ids[torch.arange(size.context_length) >= lengths[:, None]] = 0
    ids[torch.arange(size.batch_size), lengths - 1] = WORDPIECE_END_ID
    return ids, lengths
