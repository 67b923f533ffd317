"""Opening a conversation file of the size that LLaVA-1.5 publishes: our index beside json.load.

Each way runs in a process of its own, so that its memory is its own:
`python -m benchmarks.conversation_index WAY FILE CACHE`.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.own_process import MIB, Clock, Took, run_way
from benchmarks.race import spread
from runtime.seeds import numpy_generator
from runtime.tables import markdown_table

ABOUT = """\
A file like `llava_v1_5_mix665k.json`: one JSON array of 665,298 records, 40,688 of them without an image (as
published), 1.5 KB a record, words drawn at random. `json.load` is how LLaVA's trainer opens it, in every process; it is
given a quarter of the file, since the whole takes more memory than we care to use here. Ours checks every record in one
pass and keeps where each lies (`imagetext.conversation_index`); a later start, and every other process of the first,
reads the file once for its digest and opens what was kept. Memory is the peak of the process, the interpreter and its
libraries included (the first line: a process that opens nothing). Processor seconds leave out what a process waits for:
the disk, and on a shared machine its turn. Records are then read in random order, as training
reads them."""

_POOL_CONVERSATIONS = 997
_MEAN_ROUNDS = 6.0
_WORDS_A_TURN = 14


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the file is."""

    num_records: int = 665_298
    num_texts: int = 40_688
    num_read: int = 20_000
    """Records read in random order."""
    loaded_share: float = 0.25
    """Part of the records that json.load is given."""


SIZES = {"full": Size(), "tiny": Size(num_records=400, num_texts=40, num_read=20)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of seconds and memory of each way."""
    with TemporaryDirectory() as folder:
        whole, part = Path(folder) / "mix.json", Path(folder) / "part.json"
        write_file(whole, size.num_records, size.num_texts)
        write_file(part, round(size.num_records * size.loaded_share), round(size.num_texts * size.loaded_share))
        cache = Path(folder) / "cache"
        results: dict[str, list[Took]] = {}
        for _ in range(repeats):
            for place in cache.glob("*"):
                place.unlink()
            # The first of ours finds no cache and leaves one to the second.
            for way, name in _NAMES.items():
                file = part if way == "load" else whole
                results.setdefault(name, []).append(run_way(__name__, way, file, cache, size.num_read))
        what = f"File: {whole.stat().st_size / MIB:.0f} MiB; for json.load {part.stat().st_size / MIB:.0f} MiB."
    rows = [_row(name, measured) for name, measured in results.items()]
    headers = ["way", "records", "seconds", "processor seconds", "records / s", "peak MiB"]
    return f"{what}\n\n{markdown_table(headers, rows)}"


def write_file(path: Path, num_records: int, num_texts: int) -> None:
    """Write an array of conversations, those without an image near the end, as published."""
    pool = list(_pool())
    with path.open("w") as file:
        for number in range(num_records):
            turns = pool[number % _POOL_CONVERSATIONS]
            file.write("[" if number == 0 else ", ")
            if number < num_records - num_texts:
                image = f"coco/train2017/{number:012d}.jpg"
                marked = turns.replace('"value": "', '"value": "<image>\\n', 1)
                file.write(f'{{"id": "{number:012d}", "image": "{image}", "conversations": {marked}}}')
            else:
                file.write(f'{{"id": "text{number}_0", "model": "", "conversations": {turns}}}')
        file.write("]")


def _pool() -> Iterator[str]:
    generator = numpy_generator(0, "conversations")
    letters = generator.integers(ord("a"), ord("z") + 1, (4000, 12))
    words = ["".join(map(chr, row[: 2 + place % 9])) for place, row in enumerate(letters)]
    for _ in range(_POOL_CONVERSATIONS):
        turns = []
        for place in range(2 * max(1, generator.poisson(_MEAN_ROUNDS))):
            said = generator.integers(0, len(words), 1 + generator.poisson(_WORDS_A_TURN))
            turns.append({"from": ("human", "gpt")[place % 2], "value": " ".join(words[number] for number in said)})
        yield json.dumps(turns)


def _row(name: str, measured: list[Took]) -> list[str]:
    seconds, num_items = [one.seconds for one in measured], measured[0].num_items
    times = [spread(values, "{:.2f}".format) for values in (seconds, [one.cpu_seconds for one in measured])]
    rate = f"{num_items / statistics.median(seconds):.0f}" if num_items else ""
    return [name, str(num_items), *times, rate, f"{max(one.peak_bytes for one in measured) / MIB:.0f}"]


def _open_nothing(file: Path, cache: Path, num_read: int) -> int:
    return 0


def _load(file: Path, cache: Path, num_read: int) -> int:
    with file.open() as stream:
        return len(json.load(stream))


def _open(file: Path, cache: Path, num_read: int) -> int:
    from imagetext.conversation_index import open_conversations

    return len(open_conversations(file, cache))


def _read(file: Path, cache: Path, num_read: int) -> int:
    from imagetext.conversation_index import open_conversations

    opened = open_conversations(file, cache)
    for number in numpy_generator(0, "reading").integers(0, len(opened), num_read):
        opened[int(number)]
    return num_read


_WAYS: dict[str, Callable[[Path, Path, int], int]] = {
    "nothing": _open_nothing, "load": _load, "first": _open, "later": _open, "read": _read,
}  # fmt: skip
_NAMES = {
    "nothing": "nothing opened",
    "load": "json.load, a quarter of the file",
    "first": "first start: check and index",
    "later": "later starts: the index kept",
    "read": "the same, and reading in random order",
}


def main() -> None:
    """Go one way through the work and print what it took."""
    import imagetext.conversation_index  # noqa: F401 - all ways alike, and not in the time

    way, file, cache, num_read = sys.argv[1:]
    clock = Clock.now()
    clock.tell(_WAYS[way](Path(file), Path(cache), int(num_read)))


if __name__ == "__main__":
    main()
