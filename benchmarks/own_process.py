"""One way of doing something, measured in a process of its own, so that its memory is its own."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a way took."""

    seconds: float
    cpu_seconds: float
    """Seconds of a core: on a busy machine a process waits for its turn in the others."""
    peak_bytes: int
    num_items: int
    """Of what the way was to handle."""


def run_way(module: str, *arguments: object) -> Took:
    """Run `python -m MODULE ARGUMENTS`, which ends with `Clock.tell`, and return what it took."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Took(**json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Clock:
    """Seconds, by the wall and by a core, at which a way began."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Clock":
        """Start both."""
        return cls(time.perf_counter(), time.process_time())

    def tell(self, num_items: int) -> None:
        """Print what this process took since then, and its peak of memory."""
        seconds, cpu_seconds = time.perf_counter() - self.wall, time.process_time() - self.cpu
        took = Took(seconds=seconds, cpu_seconds=cpu_seconds, peak_bytes=_peak_bytes(), num_items=num_items)
        print(json.dumps(asdict(took)))


def _peak_bytes() -> int:
    # Not getrusage: it keeps the peak of the process that started this one.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
