"""What a computation costs in floating-point operations."""

from collections.abc import Callable
from typing import TypeVar

from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")


class FlopLedger:
    """Count the floating-point operations of calls, by operator (a multiply-add counts as two).

    Matrix products, convolutions and fused attention kernels are counted, on CPU too; elementwise work is not.
    """

    def __init__(self) -> None:
        self.total = 0
        self.by_operator: dict[str, int] = {}

    def measure(self, fn: Callable[[], T]) -> T:
        """Call `fn`, add what it cost to the ledger, and return its result."""
        with FlopCounterMode(display=False) as counter:
            result = fn()
        for operator, flops in counter.get_flop_counts().get("Global", {}).items():
            name = str(operator).removeprefix("aten.")
            self.by_operator[name] = self.by_operator.get(name, 0) + int(flops)
            self.total += int(flops)
        return result
