"""Memory of one GPU in one phase, term by term.

    weights       of every parameter, trained and frozen, as the engine stores them
    copies        bfloat16 copies of float32 weights that autocast makes for the forward pass and keeps for the backward
    gathered      weights (and gradients on their way out) of other ranks' shares that a sharded engine holds at a time
    gradients     of the trained parameters, in float32; twice where whole replicas average them, since DDP lays them
                  out once more to send them
    optimizer     Adam's two moments in float32 and, under DeepSpeed, the float32 weights that it steps
    activations   what autograd keeps of a microbatch (`llava_train.activations`), and of one block more at work
    logits        of the supervised tokens that are scored at a time, with their gradients

All in bytes. The allocator's fragmentation, libraries' workspaces and communication buffers are not in it: leave a
tenth of the device free.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import nn
from transformers import LlavaForConditionalGeneration

from llava_train.activations import (
    BFLOAT16,
    FLOAT32,
    BlockWidths,
    block_bytes_per_token,
    checkpoint_bytes_per_token,
    projector_bytes_per_token,
    tower_bytes_per_token,
)
from llava_train.config import PhaseConfig
from llava_train.head import CHUNK_LOGITS
from llava_train.parts import inner_tower, language_config, num_image_tokens, vision_config, vision_modules
from runtime.loop_config import LoopConfig

_MOMENTS = 2
BYTES_PER_LOGIT = 16
"""A logit in bfloat16 and in float32, its log-probability, and the gradients of the first two."""
_ZERO3_LIVE_PARAMETERS = 10**9
"""`stage3_max_live_parameters` of configs/deepspeed/zero3.json."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU, by term."""

    weights: float
    copies: float
    gathered: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """Return the sum of all terms."""
        return float(sum(asdict(self).values()))


@dataclass(frozen=True, kw_only=True)
class Microbatch:
    """What one forward pass on one GPU may have to hold."""

    num_samples: int
    longest_tokens: int
    """Every sequence as long as the longest: what must fit, not what is usual."""
    num_supervised: int


def phase_memory(
    llava: LlavaForConditionalGeneration, phase: PhaseConfig, microbatch: Microbatch, *, num_gpus: int
) -> Memory:
    """Return the memory of one GPU for a model whose weights are frozen and adapted as its phase trains it."""
    kept = _activation_bytes(llava, phase, microbatch)
    logits = min(CHUNK_LOGITS, microbatch.num_supervised * language_config(llava).vocab_size) * BYTES_PER_LOGIT
    state = _state_bytes(llava, phase.loop, num_gpus)
    return Memory(**state, activations=kept, logits=float(logits))


def host_bytes(llava: LlavaForConditionalGeneration, loop: LoopConfig) -> float:
    """Return the most that a process holds of its own in host memory while a phase starts, before GPUs take it over.

    That is float32 of what trains, under DeepSpeed bfloat16 of it too, and frozen weights as the loop stores them.
    Frozen weights that are published in bfloat16 are only mapped, together with all processes of the machine, unless a
    phase before has changed them. The main process also holds all weights while it saves, and float32 of all while it
    merges adapters that ranks share out.
    """
    copies = loop.sharding in ("zero2", "zero3") and loop.precision == "bf16"
    return _weights_bytes(llava, loop) + BFLOAT16 * copies * _count(llava.parameters(), trained=True)


def _weights_bytes(llava: LlavaForConditionalGeneration, loop: LoopConfig) -> float:
    """Return the bytes of all weights, trained ones in float32 and frozen ones as the loop stores them."""
    trained, every = _count(llava.parameters(), trained=True), _count(llava.parameters())
    frozen_bytes = BFLOAT16 if loop.frozen_weights == "bf16" else FLOAT32
    return float(FLOAT32 * trained + frozen_bytes * (every - trained))


def _state_bytes(llava: LlavaForConditionalGeneration, loop: LoopConfig, num_gpus: int) -> dict[str, float]:
    """Return the terms that do not depend on the data."""
    sharding = loop.sharding
    trained, every = _count(llava.parameters(), trained=True), _count(llava.parameters())
    low = BFLOAT16 if loop.precision == "bf16" else FLOAT32
    mixed = _weights_bytes(llava, loop)
    moments = _MOMENTS * FLOAT32 * trained
    if sharding == "none":
        num_copies = 1 if num_gpus == 1 else 2
        return {
            "weights": mixed,
            "copies": float(_copied_bytes(llava, loop)),
            "gathered": 0.0,
            "gradients": float(num_copies * FLOAT32 * trained),
            "optimizer": float(moments),
        }
    stepped = moments if sharding == "fsdp2" else moments + FLOAT32 * trained
    weights = {"zero2": low * every, "zero3": low * every / num_gpus, "fsdp2": mixed / num_gpus}[sharding]
    gathered = {
        "zero2": 0,
        "zero3": low * min(every, _ZERO3_LIVE_PARAMETERS),
        "fsdp2": _fsdp2_gathered_bytes(llava, low),
    }[sharding]
    return {
        "weights": float(weights),
        "copies": 0.0,
        "gathered": float(gathered),
        "gradients": FLOAT32 * trained / num_gpus,
        "optimizer": stepped / num_gpus,
    }


def _fsdp2_gathered_bytes(llava: LlavaForConditionalGeneration, low: int) -> int:
    """Return the block at work and the next one, what lies outside blocks, and gradients before they are shared out.

    Gradients of one block and of what lies outside are there twice, as computed and in float32 on their way.
    """
    block = llava.model.language_model.layers[0]
    inside = [*llava.model.language_model.layers.parameters(), *inner_tower(llava).encoder.layers.parameters()]
    outside = _count(llava.parameters()) - _count(inside)
    outside_trained = _count(llava.parameters(), trained=True) - _count(inside, trained=True)
    on_their_way = _count(block.parameters(), trained=True) + outside_trained
    return low * (2 * _count(block.parameters()) + outside) + (low + FLOAT32) * on_their_way


def _activation_bytes(llava: LlavaForConditionalGeneration, phase: PhaseConfig, microbatch: Microbatch) -> float:
    """Return what one microbatch's activations take in bfloat16; in float32 it is about twice that."""
    language = language_config(llava)
    num_tokens = microbatch.num_samples * microbatch.longest_tokens
    block = BlockWidths.of(language)
    in_block = block_bytes_per_token(
        block,
        is_trained="language_model" in phase.moving_parts,
        lora=phase.lora,
        weights_are_float32=phase.loop.sharding == "none",
    )
    kept = checkpoint_bytes_per_token(block) if phase.gradient_checkpointing else in_block
    bytes_of_language = num_tokens * (int(language.num_hidden_layers) * kept + in_block)
    return float(bytes_of_language + _image_bytes(llava, phase, microbatch.num_samples)) * _widening(phase)


def _image_bytes(llava: LlavaForConditionalGeneration, phase: PhaseConfig, num_images: int) -> int:
    vision, language = vision_config(llava), language_config(llava)
    patches = num_image_tokens(llava)
    per_image = 0
    if "projector" in phase.moving_parts or "vision_tower" in phase.moving_parts:
        per_image += patches * projector_bytes_per_token(vision, language)
    if "vision_tower" in phase.moving_parts:
        per_image += (patches + 1) * len(_tower_layers(llava)) * tower_bytes_per_token(vision)
    return num_images * per_image


def _widening(phase: PhaseConfig) -> int:
    return 1 if phase.loop.precision == "bf16" else FLOAT32 // BFLOAT16


def _tower_layers(llava: LlavaForConditionalGeneration) -> list[nn.Module]:
    _, _, layers = vision_modules(llava)
    return layers


def _copied_bytes(llava: LlavaForConditionalGeneration, loop: LoopConfig) -> int:
    """Return the bfloat16 copies that autocast makes of float32 weights of linear layers; it reads tables as they are.

    Those of frozen weights stay only where a gradient passes through them, which is not in the tower.
    """
    if loop.precision == "fp32":
        return 0
    weights = [
        weight
        for name, module in llava.named_modules()
        if isinstance(module, nn.Linear)
        for weight in module.parameters(recurse=False)
        if weight.requires_grad or (loop.frozen_weights == "fp32" and "vision_tower" not in name)
    ]
    return BFLOAT16 * _count(weights)


def _count(parameters: Iterable[nn.Parameter], *, trained: bool = False) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad or not trained)
