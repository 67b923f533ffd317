"""`verify` finds every kind of damage, names it, and finds nothing in a job that is whole."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from imagetext.sidecars import SIDECAR_SCHEMA, write_sidecar
from recaption import verbs
from recaption.config import VerifyConfig
from runtime.errors import UserError
from tests.recaption.job.made_jobs import finished_job

UNIT = "00001"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    finished_job(root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage; its config still names the shards of the first."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def verify(root: Path, capsys: pytest.CaptureFixture[str], **fields: Any) -> tuple[int, str]:
    code = 0
    try:
        verbs.verify(VerifyConfig(output_dir=root / "side", shards=str(root / "shards"), **fields))
    except SystemExit as left:
        code = int(left.code or 0)
    return code, capsys.readouterr().out


def rewrite(root: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    """Change rows and have the mark agree, as a writer with a fault of its own would."""
    path, mark = root / "side" / f"{UNIT}.parquet", root / "side" / f"{UNIT}_stats.json"
    rows = change(pyarrow.parquet.read_table(path).to_pylist())
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=SIDECAR_SCHEMA), path)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    facts = {"count": len(rows), "status_dict": counts, "parquet_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    mark.write_text(json.dumps({**json.loads(mark.read_text()), **facts}))


def change_mark(root: Path, **facts: object) -> None:
    mark = root / "side" / f"{UNIT}_stats.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), **facts}))


def change_row(place: int, **values: object) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**row, **(values if index == place else {})} for index, row in enumerate(rows)]


def remove_mark(root: Path) -> None:
    (root / "side" / f"{UNIT}_stats.json").unlink()


def remove_parquet(root: Path) -> None:
    (root / "side" / f"{UNIT}.parquet").unlink()


def cut_parquet(root: Path) -> None:
    path = root / "side" / f"{UNIT}.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def take_another_parquet(root: Path) -> None:
    shutil.copy(root / "side" / "00000.parquet", root / "side" / f"{UNIT}.parquet")


def drop_column(root: Path) -> None:
    path = root / "side" / f"{UNIT}.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(["uid"]), path)
    change_mark(root, parquet_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def add_foreign_file(root: Path) -> None:
    (root / "side" / "notes.txt").write_text("whose?")


def add_foreign_unit(root: Path) -> None:
    write_sidecar(root / "side", "00007", [{"key": "k", "re_caption": "c"}])


def empty_mark(root: Path) -> None:
    (root / "side" / f"{UNIT}_stats.json").write_bytes(b"")


def spoil_parquet(root: Path) -> None:
    path = root / "side" / f"{UNIT}.parquet"
    path.write_bytes(b"no parquet, though its mark agrees with it")
    change_mark(root, parquet_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def put_folder(root: Path) -> None:
    remove_parquet(root)
    (root / "side" / f"{UNIT}.parquet").mkdir()


def write_foreign_mark(root: Path) -> None:
    shutil.copy(root / "side" / f"{UNIT}_stats.json", root / "side" / "00007_stats.json")


def leave_litter(root: Path) -> None:
    (root / "side" / f"{UNIT}.parquet.partial-elsewhere-7").write_bytes(b"half")


def change_input(root: Path) -> None:
    stats = root / "shards" / f"{UNIT}_stats.json"
    stats.write_text(json.dumps({**json.loads(stats.read_text()), "tar_sha256": "another"}))


PARQUET, MARK = f"{UNIT}.parquet", f"{UNIT}_stats.json"
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing mark": (remove_mark, f"{MARK}: missing, the unit is not finished; run the job again"),
    "empty mark": (empty_mark, "00001: "),
    "unreadable parquet": (spoil_parquet, "00001: Could not open Parquet input source"),
    "parquet that is a folder": (put_folder, "00001: [Errno 21] Is a directory"),
    "foreign mark": (write_foreign_mark, "00007_stats.json: the input has no unit 00007"),
    "missing parquet": (remove_parquet, f"{PARQUET}: missing; run the job again"),
    "truncated parquet": (cut_parquet, f"{PARQUET}: not the file that its mark was written for"),
    "replaced parquet": (take_another_parquet, f"{PARQUET}: not the file that its mark was written for"),
    "dropped column": (drop_column, f"{PARQUET}: no column uid"),
    "dropped row": (lambda root: rewrite(root, lambda rows: rows[1:]), f"{PARQUET}: no row for 000010000"),
    "doubled row": (
        lambda root: rewrite(root, lambda rows: [*rows, rows[0]]),
        f"{PARQUET}: rows too many for 000010000",
    ),
    "swapped rows": (
        lambda root: rewrite(root, lambda rows: rows[::-1]),
        f"{PARQUET}: the rows are not in the input's",
    ),
    "changed key": (lambda root: rewrite(root, change_row(2, key="other")), f"{PARQUET}: rows too many for other"),
    "no reason": (
        lambda root: rewrite(root, change_row(4, error_message=None)), f"{PARQUET}: failed without a reason: 000010004",
    ),
    "empty reason": (
        lambda root: rewrite(root, change_row(4, error_message="")), f"{PARQUET}: failed without a reason: 000010004",
    ),
    "caption on a failed row": (
        lambda root: rewrite(root, change_row(4, re_caption="invented")),
        f"{PARQUET}: a caption on a failed row: 000010004",
    ),
    "success without caption": (
        lambda root: rewrite(root, change_row(0, re_caption=None)),
        f"{PARQUET}: a success without a caption: 000010000",
    ),
    "another captioner": (
        lambda root: rewrite(root, change_row(1, captioner_id="0" * 16)),
        f"{PARQUET}: written by another captioner: 000010001",
    ),
    "another prompt": (
        lambda root: rewrite(root, change_row(1, prompt_id=None)),
        f"{PARQUET}: written under another prompt: 000010001",
    ),
    "wrong counts": (
        lambda root: change_mark(root, status_dict={"success": 5}), MARK + ": counts 5 rows, {'success': 5}",
    ),
    "another manifest": (
        lambda root: change_mark(root, manifest_sha256="f" * 64), f"{MARK}: captioned under manifest ffffffffffffffff",
    ),
    "damaged mark": (lambda root: change_mark(root, status_dict=None), f"{MARK}: no mark of a captioned unit"),
    "foreign file": (add_foreign_file, "notes.txt: no file of this job"),
    "foreign unit": (add_foreign_unit, "00007_stats.json: the input has no unit 00007"),
    "litter": (leave_litter, "00001.parquet.partial-elsewhere-7: half written"),
    "changed input": (change_input, f"{MARK}: the input is not the one that was captioned"),
}  # fmt: skip


def test_nothing_is_wrong_with_a_whole_job(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = verify(whole, capsys)
    assert (code, said) == (0, f"{whole / 'side'}: 3 units checked, 0 problems\n")


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, expected = DAMAGES[name]
    damage(root)
    code, said = verify(root, capsys)
    assert code == 1
    assert expected in said
    others = [line for line in said.splitlines()[:-1] if not line.startswith((UNIT, expected.split(":")[0]))]
    assert not others or name == "foreign unit", others


def test_many_rows_of_one_fault_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(root, lambda rows: [{**row, "captioner_id": "x"} for row in rows])
    _, said = verify(root, capsys, threads=1)
    assert f"{PARQUET}: written by another captioner: 000010000, 000010001, 000010002 and 2 more" in said
    assert "3 units checked, 1 problems" in said


def test_an_input_that_lost_a_unit_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (root / "shards").glob("00002*"):
        path.unlink()
    code, said = verify(root, capsys)
    assert code == 1
    assert (
        "00002_stats.json: the input has no unit 00002" in said and "done.json: says 3 units, the input has 2" in said
    )


def test_a_folder_that_is_no_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no captioning job here"):
        verbs.verify(VerifyConfig(output_dir=tmp_path))
    with pytest.raises(UserError, match="threads: out of range: found 0, wanted >= 1"):
        VerifyConfig(output_dir=tmp_path, threads=0)
