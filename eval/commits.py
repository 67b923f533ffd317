"""Which commits of the code made the finished runs: numbers of unlike code should not be compared unawares."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from runtime.json_files import read_object

_COMMIT_LETTERS = 10


def unlike_commits(folders: Iterable[Path]) -> str | None:
    """Say which commits started the runs in `folders`, where there is more than one; None where there is not.

    A folder without `provenance.json` (data, sidecars, evaluations) counts for nothing; a run that was continued counts
    for each commit that continued it.
    """
    runs = Counter(commit for folder in folders for commit in _commits(folder / "provenance.json"))
    if len(runs) < 2:
        return None
    counts = ", ".join(f"{commit} ({number})" for commit, number in sorted(runs.items()))
    return f"Finished runs were started from unlike commits of the code (commit and number of runs): {counts}."


def _commits(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {_short(start.get("commit")) for start in read_object(path, "starts")["starts"]}


def _short(commit: str | None) -> str:
    """Shorten a commit's hash and keep what is said of changes to it."""
    if commit is None:
        return "unknown"
    digits, plus, changes = commit.partition("+")
    return digits[:_COMMIT_LETTERS] + plus + changes
