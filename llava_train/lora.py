"""LoRA through peft: adapters go onto the language model before a phase and into its weights after it."""

import torch
from peft import LoraConfig as PeftLoraConfig
from peft.tuners.lora import LoraLayer, LoraModel
from transformers import LlavaForConditionalGeneration

from llava_train.config import LoraConfig


def add_adapters(llava: LlavaForConditionalGeneration, config: LoraConfig, seed: int) -> LoraModel:
    """Put an adapter on every linear layer of the language model, freeze all else of it, and return the adapters.

    The output head gets none, as in LLaVA's LoRA. Adapters begin at zero, with dropout on until `eval` is called.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapters = LoraModel(
            llava.model.language_model,
            PeftLoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules="all-linear",
            ),
            "default",
        )
    for layer in _adapted_layers(adapters):
        # Under autocast peft would widen each input to float32, only to have it narrowed again in the product.
        layer.cast_input_dtype_enabled = False
    for parameter in adapters.parameters():
        if parameter.requires_grad:
            # peft makes adapters in the type of what they stand on, which may be stored in bfloat16.
            parameter.data = parameter.data.float()
    return adapters


def merge_adapters(adapters: LoraModel) -> None:
    """Add the adapters to the weights they stand on, in float32, and remove them: names and shapes are as before."""
    for layer in _adapted_layers(adapters):
        layer.get_base_layer().float()
    adapters.merge_and_unload(safe_merge=True)


def _adapted_layers(adapters: LoraModel) -> list[LoraLayer]:
    return [module for module in adapters.modules() if isinstance(module, LoraLayer)]
