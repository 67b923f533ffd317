"""What devices can do at most, by the names that drivers give them."""

import pytest

from runtime.hardware import ACCELERATORS, accelerator_of, peak_flops_per_second


@pytest.mark.parametrize(
    ("device_name", "known_as"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
    ],
)
def test_a_device_is_known_by_its_drivers_name(device_name: str, known_as: str) -> None:
    assert accelerator_of(device_name) is ACCELERATORS[known_as]


@pytest.mark.parametrize("device_name", ["Tesla V100-SXM2-16GB", "NVIDIA L40", "NVIDIA H100 64GB", ""])
def test_other_devices_are_not_taken_for_known_ones(device_name: str) -> None:
    assert accelerator_of(device_name) is None


def test_a_peak_is_known_of_gpus_in_bfloat16_alone() -> None:
    assert peak_flops_per_second("cuda", "bf16", "NVIDIA H200") == 989.4e12
    assert peak_flops_per_second("cuda", "fp32", "NVIDIA H200") is None
    assert peak_flops_per_second("cpu", "bf16", "") is None
