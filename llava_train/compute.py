"""What training must compute for one sample: useful floating-point operations, a multiply-add counted as two.

    forward    every matrix product of the vision tower's layers up to the feature layer, of the projector, of the
               language model, and of the output layer at supervised tokens
    backward   a gradient of the weights, as much again as the forward product, where they are trained; a gradient of
               the inputs, as much again, where something before the product is trained: none in and below a frozen
               vision tower, and none at all of a text-only sample whose language model is frozen
    attention  products of queries with keys and of weights with values, over the pairs that the causal mask leaves (all
               pairs in the vision tower); backward twice the forward

Padding, the recomputation of gradient checkpointing, elementwise work and the optimizer are no useful work and are left
out: model FLOPs as Chowdhery et al. (2022, arXiv 2204.02311, appendix B) define them, with frozen weights counted as
what they cost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import LlavaForConditionalGeneration

from llava_train.parts import language_config, num_image_tokens, vision_config, vision_modules

_MULTIPLY_ADD = 2


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one sample brings, an average one, or several together that all have a picture or all have none."""

    num_tokens: int | float
    """Tokens of the sequences, those of images included, padding not."""
    num_pairs: int | float
    """Pairs of query and key under the causal mask."""
    num_supervised: int | float
    """Tokens that the loss sums over."""
    num_images: int | float
    """Pictures; a share where samples with and without are averaged."""

    @classmethod
    def of_sample(cls, num_tokens: int | float, num_supervised: int | float, num_images: int | float) -> "Content":
        """Return the content of one sequence."""
        num_pairs = num_tokens * (num_tokens + 1) / 2
        return cls(num_tokens=num_tokens, num_pairs=num_pairs, num_supervised=num_supervised, num_images=num_images)


@dataclass(frozen=True, kw_only=True)
class Work:
    """FLOPs of forward and backward passes, by part."""

    forward: dict[str, int | float]
    backward: dict[str, int | float]

    @property
    def total(self) -> int | float:
        """Return the sum over both passes and all parts."""
        return sum(self.forward.values()) + sum(self.backward.values())


class CaptionerCost:
    """The work of a captioner's phase, read off the model as it is trained: its shapes and which weights are frozen.

    Only shapes are read, so that a model on the meta device has the same cost. Low-rank adapters count as the layers
    that they are.
    """

    def __init__(self, llava: LlavaForConditionalGeneration):
        self._tower = _tower_products(llava)
        self._projector = _projector_products(llava, tower_is_trained=self._tower.is_trained)
        self._blocks = _linear_products(llava.model.language_model.layers.modules())
        self._head = _linear_products(llava.lm_head.modules())
        self._attention_per_pair = _attention_per_pair(llava)
        embeddings: Any = llava.get_input_embeddings()
        self._trains_language = self._blocks.is_trained or self._head.is_trained or embeddings.weight.requires_grad

    def of(self, content: Content) -> Work:
        """Return the useful work that some content asks for."""
        forward = {
            "vision tower": content.num_images * self._tower.forward,
            "projector": content.num_images * self._projector.forward,
            "language model": content.num_tokens * self._blocks.forward,
            "attention": content.num_pairs * self._attention_per_pair,
            "output layer": content.num_supervised * self._head.forward,
        }
        passed = self._passed_share(content)
        backward = {
            "vision tower": content.num_images * self._tower.backward(),
            "projector": content.num_images * self._projector.backward(),
            "language model": content.num_tokens * self._blocks.backward(passed),
            "attention": passed * 2 * forward["attention"],
            "output layer": content.num_supervised * self._head.backward(passed),
        }
        return Work(forward=forward, backward=backward)

    def _passed_share(self, content: Content) -> int | float:
        """Return the share of samples whose gradient goes down through the language model.

        Where nothing in it is trained, only a picture asks for one.
        """
        if self._trains_language:
            return 1.0
        return min(content.num_images, 1.0) if self._tower.is_trained or self._projector.is_trained else 0


@dataclass(frozen=True, kw_only=True)
class _Products:
    """Matrix products of one part, in FLOPs for one unit of what it works on (a token or an image)."""

    forward: int | float
    weight_gradient: int | float
    """Of the weights that are trained."""
    input_gradient: int | float
    """Of the products whose inputs need one, where the part passes a gradient on."""

    @property
    def is_trained(self) -> bool:
        return self.weight_gradient > 0

    def backward(self, passed: int | float = 1.0) -> int | float:
        return self.weight_gradient + passed * self.input_gradient


def _linear_products(modules: Iterable[nn.Module]) -> _Products:
    forward = weight_gradient = 0
    for module in modules:
        if isinstance(module, nn.Linear):
            flops = _MULTIPLY_ADD * module.in_features * module.out_features
            forward += flops
            weight_gradient += flops if module.weight.requires_grad else 0
    return _Products(forward=forward, weight_gradient=weight_gradient, input_gradient=forward)


def _tower_products(llava: LlavaForConditionalGeneration) -> _Products:
    """Return the products of one image, in the layers up to the feature layer."""
    embeddings, _, layers = vision_modules(llava)
    config = vision_config(llava)
    # One position a patch and, in CLIP, one more for the class token.
    positions: Any = next(module for module in embeddings.modules() if isinstance(module, nn.Embedding))
    num_tokens = int(positions.num_embeddings)
    convolution: Any = next(module for module in embeddings.modules() if isinstance(module, nn.Conv2d))
    patching = _MULTIPLY_ADD * num_image_tokens(llava) * convolution.weight.numel()
    linear = _linear_products(module for layer in layers for module in layer.modules())
    attention = 2 * _MULTIPLY_ADD * num_tokens**2 * int(config.hidden_size) * len(layers)
    is_trained = linear.is_trained
    return _Products(
        forward=patching + num_tokens * linear.forward + attention,
        weight_gradient=num_tokens * linear.weight_gradient + (patching if is_trained else 0),
        # None of the pixels.
        input_gradient=num_tokens * linear.input_gradient + 2 * attention if is_trained else 0,
    )


def _projector_products(llava: LlavaForConditionalGeneration, *, tower_is_trained: bool) -> _Products:
    """Return the products of one image."""
    projector: Any = llava.model.multi_modal_projector
    first, second = (_linear_products([linear]) for linear in (projector.linear_1, projector.linear_2))
    input_gradient = second.forward if first.is_trained or tower_is_trained else 0
    input_gradient += first.forward if tower_is_trained else 0
    patches = num_image_tokens(llava)
    return _Products(
        forward=patches * (first.forward + second.forward),
        weight_gradient=patches * (first.weight_gradient + second.weight_gradient),
        input_gradient=patches * input_gradient,
    )


def _attention_per_pair(llava: LlavaForConditionalGeneration) -> int:
    config = language_config(llava)
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * _MULTIPLY_ADD * int(config.num_attention_heads) * int(head_width) * int(config.num_hidden_layers)
