"""What one piece of building work leaves behind."""

from dataclasses import dataclass, field
from pathlib import Path

from miniweb.scene import Scene


@dataclass(frozen=True)
class Made:
    """Files written, scenes shown, and facts worth counting (numbers, or numbers by name: both add up over pieces)."""

    files: tuple[Path, ...]
    scenes: tuple[Scene, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
