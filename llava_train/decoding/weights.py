"""A language model's weights as decoding wants them: one product where the published model has two or three."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from llava_train.decoding.pointwise import rounds_as_published
from llava_train.decoding.products import DenseProduct, Fp8Product, Product
from llava_train.parts import language_config

FUSED_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""Language models built of these blocks: root-mean-square norms, rotary positions, grouped heads, gated SiLU."""


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One block."""

    attention_norm: Float[Tensor, " width"]
    queries_keys_values: Product
    """Heads of queries, then groups of keys, then groups of values."""
    query_norm: Float[Tensor, " head"] | None
    key_norm: Float[Tensor, " head"] | None
    output: Product
    mlp_norm: Float[Tensor, " width"]
    gate_up: Product
    """The gate's half, then the half that it opens."""
    down: Product


@dataclass(frozen=True, kw_only=True)
class LanguageWeights:
    """All blocks, the table before them and the head behind them, on one device in one type; where every step is
    rounded as published, norms are in float32.
    """

    embeddings: Float[Tensor, "vocabulary width"]
    layers: tuple[LayerWeights, ...]
    norm: Float[Tensor, " width"]
    head: DenseProduct
    num_heads: int
    num_groups: int
    """Heads of keys and values."""
    head_width: int
    norm_epsilon: float


def serves(llava: LlavaForConditionalGeneration) -> bool:
    """Tell whether a captioner's language model is built of the blocks that are decoded here."""
    config = language_config(llava)
    if config.model_type not in FUSED_TYPES or config.hidden_act != "silu":
        return False
    slides = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None) is not None
    grows = config.rope_parameters.get("rope_type", "default") in ("dynamic", "longrope")
    return not slides and not grows


def fuse_language(
    llava: LlavaForConditionalGeneration,
    *,
    device: torch.device,
    dtype: torch.dtype,
    fp8: bool = False,
    take_over: bool = False,
) -> LanguageWeights:
    """Copy a captioner's language model into joined weights.

    `take_over` gives up the module's own weights block by block, so that there is never more than one block twice; the
    module can't run afterwards. `fp8` rounds the blocks' products to 8 bits; table, norms and head stay in `dtype`.
    """
    config = language_config(llava)
    model: Any = llava.model.language_model
    stepwise = rounds_as_published(device, dtype)

    def copied(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=device, dtype=dtype, copy=True)

    def copied_norm(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=device, dtype=torch.float32 if stepwise else dtype, copy=True)

    def product(*linears: nn.Linear) -> Product:
        bias = None if linears[0].bias is None else torch.cat([copied(linear.bias) for linear in linears])
        weight = torch.cat([copied(linear.weight) for linear in linears])
        dense = DenseProduct(weight, bias, sums_at_once=not stepwise)
        return Fp8Product.of(dense) if fp8 else dense

    layers = []
    for layer in model.layers:
        layers.append(_fuse_layer(layer, product, copied_norm))
        if take_over:
            layer.to("meta")
    embeddings = copied(model.embed_tokens.weight)
    tied = llava.lm_head.weight is model.embed_tokens.weight
    weights = LanguageWeights(
        embeddings=embeddings,
        layers=tuple(layers),
        norm=copied_norm(model.norm.weight),
        head=DenseProduct(embeddings if tied else copied(llava.lm_head.weight)),
        num_heads=int(config.num_attention_heads),
        num_groups=int(config.num_key_value_heads),
        head_width=int(model.layers[0].self_attn.head_dim),
        norm_epsilon=float(config.rms_norm_eps),
    )
    if take_over:
        # Not the rotary part: it is asked for the turns of positions later on.
        for module in (model.embed_tokens, model.norm, llava.lm_head):
            nn.Module.to(module, "meta")
    return weights


def _fuse_layer(layer: Any, product: Callable[..., Product], copied_norm: Callable[[Tensor], Tensor]) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp

    def norm(name: str) -> Tensor | None:
        module = getattr(attention, name, None)
        return None if module is None else copied_norm(module.weight)

    return LayerWeights(
        attention_norm=copied_norm(layer.input_layernorm.weight),
        queries_keys_values=product(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=norm("q_norm"),
        key_norm=norm("k_norm"),
        output=product(attention.o_proj),
        mlp_norm=copied_norm(layer.post_attention_layernorm.weight),
        gate_up=product(mlp.gate_proj, mlp.up_proj),
        down=product(mlp.down_proj),
    )
