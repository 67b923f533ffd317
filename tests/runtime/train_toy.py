"""A training command over the toys, for tests that start it as a launcher would."""

import sys
from pathlib import Path

from runtime.entry import run_entry
from tests.runtime.toys import train


def main() -> None:
    task, folder, *changes = sys.argv[1:]
    train(task, Path(folder), **{name: int(value) for name, value in (change.split("=") for change in changes)})


if __name__ == "__main__":
    run_entry(main)
