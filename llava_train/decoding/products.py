"""Products with a layer's weights: in the compute type, or in 8-bit floats with a scale for every row and column."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from llava_train.decoding.pointwise import in_one_kernel

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max


@dataclass(frozen=True)
class DenseProduct:
    """x W^T + b."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None
    sums_at_once: bool = True
    """Add to a residual stream within the product, rounding once; or round the product first."""

    def __call__(self, inputs: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        """Return the product."""
        return torch.nn.functional.linear(inputs, self.weight, self.bias)

    def onto(self, residual: Float[Tensor, "rows out"], inputs: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        """Return the product added to a residual stream."""
        if not self.sums_at_once:
            return residual + self(inputs)
        total = torch.addmm(residual, inputs, self.weight.t())
        return total if self.bias is None else total + self.bias

    def outputs(self, first: int, last: int) -> "DenseProduct":
        """Return the product that makes the outputs from `first` up to `last` alone; it shares these weights."""
        return DenseProduct(self.weight[first:last], None if self.bias is None else self.bias[first:last])


@dataclass(frozen=True)
class Fp8Product:
    """x W^T + b, both factors in 8-bit floats: a scale for every row of x and for every output, sums in float32."""

    weight: Tensor
    """(out, in) in float8_e4m3fn."""
    scale: Float[Tensor, "1 out"]
    bias: Float[Tensor, " out"] | None = None

    @classmethod
    def of(cls, product: DenseProduct) -> "Fp8Product":
        """Round a product's weights to 8 bits."""
        weight, scale = to_fp8(product.weight)
        return cls(weight, scale.t().contiguous(), product.bias)

    def __call__(self, inputs: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        """Return the product, in the inputs' type."""
        rounded, scale = _compiled_to_fp8()(inputs)
        product = torch._scaled_mm(
            rounded, self.weight.t(), scale_a=scale, scale_b=self.scale, out_dtype=inputs.dtype, use_fast_accum=True
        )
        return product if self.bias is None else product + self.bias

    def onto(self, residual: Float[Tensor, "rows out"], inputs: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        """Return the product added to a residual stream."""
        return residual + self(inputs)

    def outputs(self, first: int, last: int) -> "Fp8Product":
        """Return the product that makes the outputs from `first` up to `last` alone; it shares these weights."""
        bias = None if self.bias is None else self.bias[first:last]
        return Fp8Product(self.weight[first:last], self.scale[:, first:last].contiguous(), bias)


Product = DenseProduct | Fp8Product


def to_fp8(matrix: Float[Tensor, "rows columns"]) -> tuple[Tensor, Float[Tensor, "rows 1"]]:
    """Return a matrix in 8-bit floats and each row's scale, by which it is multiplied to give the row back."""
    scale = matrix.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-12) / FP8_MAX
    return (matrix.float() / scale).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


@cache
def _compiled_to_fp8() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return `to_fp8` as it runs fastest: step by step it would read and write a prompt's activations six times."""
    return in_one_kernel(to_fp8)


def fp8_is_offered(device: torch.device) -> bool:
    """Tell whether this device multiplies 8-bit floats with a scale for every row, as NVIDIA's do from Hopper on."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (9, 0)
