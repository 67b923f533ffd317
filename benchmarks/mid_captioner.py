"""A random captioner of about 100 million parameters that says as many tokens about each picture as it is told to.

Only its output layer is not random. It is solved for: after the prompt about a picture, the likeliest token is the one
that stands for that picture's length; after the token that stands for n, the one that stands for n - 1; after the one
for 1, the stop token. So every program that runs the published directory says texts of the wanted lengths, with nothing
hooked into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerBase

from benchmarks.pictures import draw_pairs
from imagetext.conversations import PAPER_PROMPT, render_prompt, stop_token_ids
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.build import build_captioner
from llava_train.config import LanguageModelConfig
from llava_train.export import export_captioner
from llava_train.network import embed
from llava_train.parts import num_image_tokens
from llava_train.pixels import Normaliser, PixelGeometry
from llava_train.towers import load_tower

_CHAIN_SCORE = 30.0
"""Score of a chain's next token, where a picture's first has 1: what tells pictures apart goes on all through the
answer, and must not win there."""
_FIRST_WEIGHT = 100.0
"""Weight of an answer's first token in the least squares: pictures differ little, and there is one for each answer."""
_PENALTY = 1e-7
"""Ridge penalty, as a share of the states' mean square."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of tower and language model."""

    vision: dict[str, Any]
    """Fields of a `CLIPVisionConfig`."""
    language: LanguageModelConfig


MID = Shape(
    vision={
        "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 6,
        "image_size": 112, "patch_size": 14, "initializer_factor": 5.0,
    },
    language=LanguageModelConfig(
        width=768, num_layers=12, head_width=64, mlp_width=2048, vocab_size=512, initializer_range=0.02,
        embedding_std=1.0,
    ),
)  # fmt: skip
"""86 million parameters in the language model, 15 in the tower; 64 image tokens."""
TINY = Shape(
    vision={
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14, "initializer_factor": 5.0,
    },
    language=LanguageModelConfig(
        width=64, num_layers=2, mlp_width=96, vocab_size=512, initializer_range=0.1, embedding_std=1.0
    ),
)  # fmt: skip
"""The same construction, for tests."""
_TEXT = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
    "max_position_embeddings": 16,
}  # fmt: skip


def write_mid_captioner(folder: Path, pixels: Sequence[np.ndarray], lengths: Sequence[int], shape: Shape) -> Path:
    """Write tower, tokenizer and captioner below `folder`; return the published directory.

    `pixels` are pictures as `geometry(shape).prepare` makes them, and `lengths` the tokens to say about each. Raises
    ValueError where no output layer says so.
    """
    texts = [pair.caption for pair in draw_pairs(64, 64, 64)]
    train_llama_bpe([PAPER_PROMPT, *texts], shape.language.vocab_size, folder / "tokenizer")
    tokenizer = load_hf_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=shape.vision, projection_dim=16))
    clip.save_pretrained(folder / "clip")
    tower = load_tower(folder / "clip", max_length_tokens=shape.language.max_length_tokens)
    llava = build_captioner(tower, tokenizer, shape.language, seed=0, attention="sdpa")
    _solve_output(llava, tokenizer, Normaliser(geometry(shape)), pixels, lengths)
    export_captioner(llava, tokenizer, geometry(shape), folder / "export")
    return folder / "export"


def geometry(shape: Shape) -> PixelGeometry:
    """Return how pictures are prepared for a shape."""
    return PixelGeometry(image_size_px=shape.vision["image_size"], mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@torch.no_grad()
def _solve_output(
    llava: Any,
    tokenizer: PreTrainedTokenizerBase,
    normaliser: Normaliser,
    pixels: Sequence[np.ndarray],
    lengths: Sequence[int],
) -> None:
    """Set the output layer by least squares on the states of all answers as they are to be."""
    stop = stop_token_ids(tokenizer)[0]
    counters = [stop, *_plain_tokens(tokenizer)[: max(lengths)]]
    prompt = render_prompt(PAPER_PROMPT, tokenizer, num_image_tokens(llava))
    states, targets = [], []
    for picture, length in zip(pixels, lengths, strict=True):
        chain = [counters[left] for left in range(length, -1, -1)]
        states.append(_states(llava, normaliser, picture, [*prompt, *chain[:-1]])[len(prompt) - 1 :])
        targets.append(torch.tensor(chain))
    weight = solve(states, targets, num_tokens=len(llava.lm_head.weight))
    llava.lm_head.weight.copy_(weight)
    for answer, wanted in zip(states, targets, strict=True):
        said = (answer @ llava.lm_head.weight.T).argmax(-1)
        if not torch.equal(said, wanted):
            raise ValueError("the output layer could not be solved for these lengths: fewer pictures, or a wider model")


def solve(
    states: Sequence[Float[Tensor, "_ width"]], targets: Sequence[Int64[Tensor, " _"]], *, num_tokens: int
) -> Float[Tensor, "vocabulary width"]:
    """Return the output layer that scores states' targets highest, an answer's first by less than those after it."""
    rows, chosen = torch.cat(list(states)).double(), torch.cat(list(targets))
    first = torch.tensor([0, *[len(answer) for answer in states]]).cumsum(0)[:-1]
    scores = torch.full((len(rows),), _CHAIN_SCORE, dtype=torch.float64)
    weights = torch.ones_like(scores)
    scores[first], weights[first] = 1.0, _FIRST_WEIGHT
    wanted = torch.zeros(len(rows), num_tokens, dtype=torch.float64)
    wanted[torch.arange(len(rows)), chosen] = scores * weights
    rows = rows * weights.unsqueeze(1)
    gram = rows.T @ rows
    gram.diagonal().add_(_PENALTY * gram.diagonal().mean())
    return torch.linalg.solve(gram, rows.T @ wanted).T.float()


def _states(
    llava: Any, normaliser: Normaliser, picture: np.ndarray, ids: Sequence[int]
) -> Float[Tensor, "tokens width"]:
    embeddings = embed(llava, torch.tensor([list(ids)]), normaliser(torch.from_numpy(picture[None])))
    states: Tensor = llava.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[0]
    return states


def _plain_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return tokens that are text by themselves."""
    special = set(tokenizer.all_special_ids)
    texts = {token: str(tokenizer.decode([token])) for token in range(len(tokenizer)) if token not in special}
    return [token for token, text in texts.items() if text.strip().isalpha()]
