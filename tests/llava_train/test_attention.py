"""Our plain attention against transformers' own."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from llava_train.attention import LEAN, captioner_attention
from tests.llava_train import tiny


@pytest.mark.parametrize("padded", [False, True], ids=["causal", "causal-and-padded"])
def test_lean_attention_equals_eager(export: Path, padded: bool) -> None:
    assert captioner_attention(torch.device("cpu")) == LEAN
    models = [
        LlavaForConditionalGeneration.from_pretrained(export, attn_implementation=name) for name in (LEAN, "eager")
    ]
    ids = torch.randint(0, 200, (3, 12))
    ids[:, 1 : 1 + tiny.NUM_IMAGE_TOKENS] = models[0].config.image_token_id
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :1] = 0
    pixels = torch.randn(3, 3, tiny.IMAGE_SIZE_PX, tiny.IMAGE_SIZE_PX)
    ours, theirs = (model(input_ids=ids, pixel_values=pixels, attention_mask=mask).logits for model in models)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_key_value_heads", [1, 2])
def test_grouped_heads_equal_eager(num_key_value_heads: int) -> None:
    captioner_attention(torch.device("cpu"))
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=num_key_value_heads,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 50, (3, 7))
    logits = []
    for name in (LEAN, "eager"):
        model.set_attn_implementation(name)
        assert model.config._attn_implementation == name
        logits.append(model(input_ids=ids).logits)
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
