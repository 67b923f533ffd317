"""What a computation costs in floating-point operations."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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
        with _Counter(self):
            return fn()


class _Counter(TorchDispatchMode):
    # torch's own FlopCounterMode runs operators by their decompositions: SiLU's gradient then differs in its last bit,
    # and a resumed run, whose first update is counted anew, would end in other weights than the undisturbed one.
    def __init__(self, ledger: FlopLedger):
        super().__init__()
        self._ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            name = str(func._overloadpacket).removeprefix("aten.")
            flops = int(count(*args, **(kwargs or {}), out_val=result))
            self._ledger.by_operator[name] = self._ledger.by_operator.get(name, 0) + flops
            self._ledger.total += flops
        return result
