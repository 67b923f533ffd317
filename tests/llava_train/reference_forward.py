"""LLaVA's forward pass written a second time, from the papers and the published names of its weights alone.

CLIP (arXiv 2103.00020), LLaMA (arXiv 2302.13971: RMSNorm, rotary positions, SwiGLU; grouped heads since LLaMA-2) and
LLaVA-1.5 (arXiv 2310.03744). One sample, float32, plain products; shares nothing with transformers or our network.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def logits(weights: Weights, config: Mapping[str, Any], input_ids: Sequence[int], pixels: Tensor | None) -> Tensor:
    """Return the logits after every token, (tokens, vocabulary); `pixels` is one normalised picture."""
    weights = {name: tensor.float() for name, tensor in weights.items()}
    text = config["text_config"]
    hidden = weights["language_model.model.embed_tokens.weight"][list(input_ids)]
    if pixels is not None:
        places = torch.tensor(input_ids) == config["image_token_index"]
        hidden[places] = projected(weights, config, pixels)
    for index in range(text["num_hidden_layers"]):
        hidden = llama_block(weights, f"language_model.model.layers.{index}.", text, hidden)
    hidden = rms_norm(hidden, weights["language_model.model.norm.weight"], text["rms_norm_eps"])
    head = weights.get("language_model.lm_head.weight", weights["language_model.model.embed_tokens.weight"])
    return hidden @ head.T


def projected(weights: Weights, config: Mapping[str, Any], pixels: Tensor) -> Tensor:
    features = vision_features(weights, config, pixels)
    first = linear(weights, "multi_modal_projector.linear_1.", features)
    gelu = first * (1 + torch.erf(first / 2**0.5)) / 2
    return linear(weights, "multi_modal_projector.linear_2.", gelu)


def vision_features(weights: Weights, config: Mapping[str, Any], pixels: Tensor) -> Tensor:
    vision, prefix = config["vision_config"], "vision_tower.vision_model."
    hidden = patches(weights, prefix, vision["patch_size"], pixels)
    if config["vision_feature_select_strategy"] == "default":
        hidden = torch.cat([weights[prefix + "embeddings.class_embedding"][None], hidden])
    hidden = hidden + weights[prefix + "embeddings.position_embedding.weight"]
    if prefix + "pre_layrnorm.weight" in weights:
        hidden = layer_norm(weights, prefix + "pre_layrnorm.", hidden, vision.get("layer_norm_eps", 1e-5))
    states = [hidden]
    for index in range(vision["num_hidden_layers"]):
        states.append(clip_block(weights, f"{prefix}encoder.layers.{index}.", vision, states[-1]))
    chosen = states[config["vision_feature_layer"]]
    return chosen[1:] if config["vision_feature_select_strategy"] == "default" else chosen


def patches(weights: Weights, prefix: str, size: int, pixels: Tensor) -> Tensor:
    """Return each patch's product with the kernel, row by row of the picture."""
    kernel = weights[prefix + "embeddings.patch_embedding.weight"]
    bias = weights.get(prefix + "embeddings.patch_embedding.bias", torch.zeros(len(kernel)))
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    cut = [
        pixels[:, row * size : (row + 1) * size, column * size : (column + 1) * size].reshape(-1)
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.stack(cut) @ kernel.reshape(len(kernel), -1).T + bias


def clip_block(weights: Weights, prefix: str, vision: Mapping[str, Any], hidden: Tensor) -> Tensor:
    epsilon, num_heads = vision.get("layer_norm_eps", 1e-5), vision["num_attention_heads"]
    normed = layer_norm(weights, prefix + "layer_norm1.", hidden, epsilon)
    query, key, value = (linear(weights, f"{prefix}self_attn.{name}_proj.", normed) for name in "qkv")
    mixed = torch.cat(
        [
            attend(q, k, v, causal=False)
            for q, k, v in zip(query.chunk(num_heads, -1), key.chunk(num_heads, -1), value.chunk(num_heads, -1))
        ],
        dim=-1,
    )
    hidden = hidden + linear(weights, prefix + "self_attn.out_proj.", mixed)
    inner = linear(weights, prefix + "mlp.fc1.", layer_norm(weights, prefix + "layer_norm2.", hidden, epsilon))
    activation = {
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "gelu_pytorch_tanh": lambda x: x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    }[vision.get("hidden_act", "quick_gelu")]
    return hidden + linear(weights, prefix + "mlp.fc2.", activation(inner))


def llama_block(weights: Weights, prefix: str, text: Mapping[str, Any], hidden: Tensor) -> Tensor:
    normed = rms_norm(hidden, weights[prefix + "input_layernorm.weight"], text["rms_norm_eps"])
    width = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    query, key, value = (
        linear(weights, f"{prefix}self_attn.{name}_proj.", normed).unflatten(-1, (-1, width)) for name in "qkv"
    )
    group_size = query.shape[1] // key.shape[1]
    mixed = torch.cat(
        [
            attend(
                rotated(query[:, head], text["rope_theta"]),
                rotated(key[:, head // group_size], text["rope_theta"]),
                value[:, head // group_size],
                causal=True,
            )
            for head in range(query.shape[1])
        ],
        dim=-1,
    )
    hidden = hidden + linear(weights, prefix + "self_attn.o_proj.", mixed)
    normed = rms_norm(hidden, weights[prefix + "post_attention_layernorm.weight"], text["rms_norm_eps"])
    gate = linear(weights, prefix + "mlp.gate_proj.", normed)
    up = linear(weights, prefix + "mlp.up_proj.", normed)
    return hidden + linear(weights, prefix + "mlp.down_proj.", gate * torch.sigmoid(gate) * up)


def rotated(heads: Tensor, theta: float) -> Tensor:
    """Turn dimension i and i + half of the token at place p by p / theta^(2 i / width)."""
    width = heads.shape[-1]
    angles = torch.arange(len(heads))[:, None] * theta ** (-torch.arange(0, width, 2) / width)
    left, right = heads.chunk(2, dim=-1)
    return torch.cat([left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    scores = query @ key.T / query.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    return scores.softmax(dim=-1) @ value


def linear(weights: Weights, prefix: str, inputs: Tensor) -> Tensor:
    return inputs @ weights[prefix + "weight"].T + weights.get(prefix + "bias", torch.zeros(()))


def layer_norm(weights: Weights, prefix: str, inputs: Tensor, epsilon: float) -> Tensor:
    centred = inputs - inputs.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
    return scaled * weights[prefix + "weight"] + weights[prefix + "bias"]


def rms_norm(inputs: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return inputs / (inputs.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight
