"""A measurement's page: what was compared, what came out, and on what machine."""

import os
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runtime import provenance

_BUSY_LOAD = 1.5
"""Load average from which others are at work; a measurement before this one leaves one behind."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What was so when a measurement began, and may change under it."""

    load: float
    """Load average."""
    commit: str
    """Commit of the code that measures, "+changes" behind it where files differ."""

    @classmethod
    def now(cls) -> "Start":
        """Return what is so now."""
        return cls(load=os.getloadavg()[0], commit=provenance.source_commit() or "unknown")


def compose(name: str, about: str, measured: str, *, start: Start, command: str) -> str:
    """Return the page as Markdown."""
    commit = start.commit
    facts = {
        "Command": f"`{command}`",
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": commit[:12] + ("+changes" if commit.endswith("+changes") else ""),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; torch threads: 1",
        "Load": _describe_load(start.load),
        "Versions": ", ".join([f"python {platform.python_version()}", *_versions()]),
    }
    listing = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    how = "Median over repeats, which took turns; in brackets the lowest and the highest."
    return f"# {name}\n\n{about}\n\n{measured.strip()}\n\n{how}\n\n{listing}\n"


def command_line() -> str:
    """Return the command that this process was started with, as a user types it."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def _versions() -> list[str]:
    return [f"{name} {version}" for name, version in provenance.versions().items()]


def _describe_load(before: float) -> str:
    after = os.getloadavg()[0]
    state = "shared with other work" if max(before, after) > _BUSY_LOAD else "otherwise idle"
    return f"average {before:.1f} before, {after:.1f} after, of which one thread is the measurement's: {state}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
