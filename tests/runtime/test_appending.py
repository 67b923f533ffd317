"""Lines that several processes append: none lost, none torn, none mixed."""

import multiprocessing
from pathlib import Path

from runtime.appending import append_lines, whole_lines

NUM_BATCHES, BATCH = 40, 25


def write_many(path: Path, writer: int) -> None:
    # Longer than a page, so that a write without a lock would be seen to mix.
    for batch in range(NUM_BATCHES):
        append_lines(path, [f"{writer} {batch} {line} {'x' * 400}" for line in range(BATCH)])


def test_two_processes_append_batches_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lines"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, number)) for number in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = [tuple(map(int, line.split()[:3])) for line in whole_lines(path)]
    assert sorted(found) == [(w, b, n) for w in (0, 1) for b in range(NUM_BATCHES) for n in range(BATCH)]
    batches = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
    assert all(batch == [(*batch[0][:2], line) for line in range(BATCH)] for batch in batches)


def test_a_torn_line_is_neither_read_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_lines(path, ["first"])
    with path.open("a") as file:
        file.write("torn" * 40_000)
    assert whole_lines(path) == ["first"]
    append_lines(path, ["second"])
    assert path.read_text() == "first\nsecond\n"


def test_a_file_that_is_but_torn_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("torn")
    append_lines(path, ["first"])
    assert path.read_text() == "first\n"
