"""Parts of a job are disjoint, cover it, and do not move."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.config import RecaptionConfig, StatusConfig, VerifyConfig
from recaption.executors.partition import Part
from runtime.errors import UserError


@given(st.integers(0, 200), st.integers(1, 40))
def test_parts_are_disjoint_cover_everything_and_differ_by_one_at_most(num_items: int, count: int) -> None:
    items = [f"{number:05d}" for number in range(num_items)]
    parts = [Part(index, count).choose(items) for index in range(count)]
    assert sorted(name for part in parts for name in part) == items
    lengths = {len(part) for part in parts}
    assert max(lengths) - min(lengths) <= 1
    assert all(part == sorted(part) for part in parts)


def test_a_part_is_read_as_arrays_count() -> None:
    assert Part.parse("0/1") == Part(0, 1) and Part.parse("0/1").is_whole
    assert Part.parse("15/16") == Part(15, 16) and str(Part(15, 16)) == "15/16"


@pytest.mark.parametrize("text", ["16/16", "3", "1/0", "-1/4", "a/b", "1/2/3", "", "1 / 2"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"part: no part of a job: found .*wanted INDEX/COUNT with INDEX from 0"):
        Part.parse(text)


def test_a_part_given_as_the_input_is_told_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = r"shards: a part of a job is no input: found 3/16, .*Add --part 3/16 to --shards FOLDER"
    with pytest.raises(UserError, match=wanted):
        RecaptionConfig(model=Path("model"), output_dir=Path("side"), shards="3/16")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3" / "16").mkdir(parents=True)
    assert RecaptionConfig(model=Path("model"), output_dir=Path("side"), shards="3/16").shards == "3/16"


def test_a_url_is_no_job_folder() -> None:
    for url in ("s3://bucket/side", "gs:/bucket/side", "memory://side"):
        for config in (StatusConfig, VerifyConfig):
            with pytest.raises(UserError, match=r"output_dir: a job's folder is a path, not a URL: found .*Mount it"):
                config(output_dir=Path(url))
        with pytest.raises(UserError, match="inputs may be URLs"):
            RecaptionConfig(model=Path("model"), output_dir=Path(url), shards="s3://bucket/shards")
    assert StatusConfig(output_dir=Path("/mnt/bucket/side"))
