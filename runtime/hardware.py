"""What accelerators can do at most, by the names that their drivers give them."""

from dataclasses import dataclass
from typing import Literal, get_args

AcceleratorName = Literal[
    "B200", "H200", "H100-80GB", "H100-PCIe", "H100-NVL", "H20", "A100-80GB", "A100-40GB", "L40S", "L4", "RTX-4090"
]
"""The accelerators whose limits are known here."""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """Limits of one accelerator, as its maker's data sheet has them."""

    bf16_flops_per_second: float
    """Dense matrix products in bfloat16 with float32 sums, without sparsity, at the boost clock."""
    memory_bytes: int
    """Memory of the whole device, of which a driver and its libraries keep about a GiB."""
    memory_bytes_per_second: float
    """Most that can be read from that memory."""
    driver_names: tuple[str, ...]
    """Parts of the device name, as the driver gives it, of which one suffices."""


def _accelerator(
    teraflops: int | float, gigabytes: int, terabytes_per_second: int | float, *driver_names: str
) -> Accelerator:
    return Accelerator(
        bf16_flops_per_second=teraflops * 1e12,
        memory_bytes=gigabytes * 10**9,
        memory_bytes_per_second=terabytes_per_second * 1e12,
        driver_names=driver_names,
    )


ACCELERATORS: dict[AcceleratorName, Accelerator] = {
    "B200": _accelerator(2250, 180, 8, "B200"),
    "H200": _accelerator(989.4, 141, 4.8, "H200"),
    "H100-80GB": _accelerator(989.4, 80, 3.35, "H100 80GB HBM3"),
    "H100-PCIe": _accelerator(756, 80, 2.0, "H100 PCIe"),
    "H100-NVL": _accelerator(835, 94, 3.9, "H100 NVL"),
    "H20": _accelerator(148, 96, 4.0, "H20"),
    "A100-80GB": _accelerator(312, 80, 1.935, "A100-SXM4-80GB", "A100 80GB PCIe", "A100-SXM-80GB"),
    "A100-40GB": _accelerator(312, 40, 1.555, "A100-SXM4-40GB", "A100-PCIE-40GB", "A100-SXM-40GB"),
    "L40S": _accelerator(362, 48, 0.864, "L40S"),
    "L4": _accelerator(121, 24, 0.3, "L4"),
    "RTX-4090": _accelerator(165.2, 24, 1.008, "RTX 4090"),
}
"""NVIDIA's data sheets; where they give a figure with sparsity alone, half of it."""


def accelerator_of(device_name: str) -> Accelerator | None:
    """Return the limits of a device by its driver's name ("NVIDIA H100 80GB HBM3"), None for one not known here."""
    for accelerator in ACCELERATORS.values():
        # As whole words: "L4" is no part of "L40S", nor "H20" of "H200".
        if any(f" {part} " in f" {device_name} " for part in accelerator.driver_names):
            return accelerator
    return None


def peak_flops_per_second(device_type: str, precision: str, device_name: str) -> float | None:
    """Return the most that a device can compute in a second in a training precision; None where it is not known.

    A CPU has no such figure here: its rate depends on cores, instructions and clock.
    """
    if device_type != "cuda" or precision != "bf16":
        return None
    accelerator = accelerator_of(device_name)
    return None if accelerator is None else accelerator.bf16_flops_per_second


assert set(ACCELERATORS) == set(get_args(AcceleratorName)), "every name has its limits"
