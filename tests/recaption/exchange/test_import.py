"""The published captions as sidecars of one's own shards: joined on the recorded sha256, every case counted."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetext.sidecars import read_mark, read_sidecar_table, write_sidecar
from recaption.__main__ import main
from recaption.coverage.config import CoverageConfig
from recaption.coverage.verbs import coverage
from recaption.exchange import importing
from recaption.exchange.byte_escapes import undo_byte_escapes
from recaption.exchange.digest_index import DigestIndex
from recaption.exchange.import_config import ImportConfig
from recaption.exchange.importing import import_captions
from recaption.exchange.published_files import PublishedFile
from runtime.errors import UserError
from tests.recaption.tars import write_parquet, write_stats, write_tar

TOPK = "re_caption_condition_diverse_topk"


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def own_row(key: str, name: str | None, **fields: object) -> dict[str, object]:
    sha256 = None if name is None else digest(name)
    return {"key": key, "url": f"http://own.test/{key}", "caption": f"alt {key}", "sha256": sha256, **fields}


def own_shard(folder: Path, index: int, rows: list[dict[str, object]]) -> None:
    write_tar(folder / f"{index:08d}.tar", [])
    write_parquet(folder / f"{index:08d}.parquet", rows)
    write_stats(folder / f"{index:08d}_stats.json", successes=len(rows), count=len(rows))


def published_row(name: str, caption: str | None, url: str = "", **fields: object) -> dict[str, object]:
    lengths = {"re_length": 1, "org_length": 1}
    scores = {"re_clip_score": 0.0, "org_clip_score": 0.0, "re_gpt4v_score": 0}
    identity = {"url": url, "sha256": digest(name), "key": f"published {name}", "org_caption": f"published alt {name}"}
    return {**identity, "re_caption": caption, **lengths, **scores, **fields}


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Three own shards and three published files, whose columns differ."""
    shards, published = tmp_path / "shards", tmp_path / "published"
    (published / "data").mkdir(parents=True)
    own_shard(
        shards,
        0,
        [
            own_row("00", "cat", width=10),
            own_row("01", None, status="failed_to_download", error_message="HTTP 404"),
            own_row("02", "nobody's"),
            own_row("03", "placeholder"),
        ],
    )
    own_shard(shards, 7, [own_row("70", "placeholder", width=70), own_row("71", "dog"), own_row("72", None)])
    own_shard(shards, 8, [own_row("80", "bird", caption=None, sha256=digest("bird").upper())])
    first = [
        published_row("stranger", "A stranger."),
        published_row("placeholder", "First grey box."),
        published_row("placeholder", "Its own grey box.", "http://own.test/70"),
        published_row("cat", "A caf\\xc3\\xa9 cat \\xe2\\x80\\x94 black."),
    ]
    write_parquet(published / "data" / "train-0.parquet", first)
    second = [published_row("dog", "A dog.", re_clip_score=0.25), published_row("bird", None, re_clip_score=0.0)]
    write_parquet(published / "data" / "train-1.parquet", second)
    conditioned = [
        {"sha256": digest(name), "url": "", TOPK: f"Conditioned {name}.", "re_condition_length": 2}
        for name in ("bird", "cat")
    ]
    write_parquet(published / "topk-0.parquet", conditioned)
    return tmp_path


def config(web: Path, **fields: int) -> ImportConfig:
    places = {"shards": str(web / "shards"), "published": str(web / "published"), "output_dir": web / "side"}
    return ImportConfig(**{**places, **fields})  # type: ignore[arg-type]


def captions(web: Path) -> dict[str, object]:
    names = ("00000000", "00000007", "00000008")
    return {r["key"]: r["re_caption"] for name in names for r in read_sidecar_table(web / "side", name).to_pylist()}


EXPECTED = {
    "00": "A café cat — black.",
    "01": None,
    "02": None,
    "03": "First grey box.",
    "70": "Its own grey box.",
    "71": "A dog.",
    "72": None,
    "80": None,
}


@pytest.mark.parametrize("sizes", [{}, {"shards_per_pass": 1}, {"shards_per_pass": 2, "shards_in_memory": 1}])
def test_captions_are_joined_on_the_recorded_digest(web: Path, sizes: dict[str, int]) -> None:
    facts = import_captions(config(web, **sizes))
    assert captions(web) == EXPECTED
    wanted = {
        "rows": 8,
        "matched": 5,
        "matched_by_several": 2,
        "matched_with_the_same_url": 1,
        "failed_before": 1,
        "unmatched": 1,
        "without_sha256": 1,
    }
    assert {name: facts[name] for name in wanted} == wanted
    if not sizes:
        assert (facts["published_rows_read"], facts["published_rows_matched"]) == (8, 7)
    assert not list((web / "side").rglob("pass-*/*"))


def test_rows_say_where_their_captions_are_from(web: Path) -> None:
    import_captions(config(web))
    rows = read_sidecar_table(web / "side", "00000000").to_pylist()
    cat, failed, stranger, _ = rows
    assert (cat["org_caption"], cat["sha256"], cat["url"]) == ("alt 00", digest("cat"), "http://own.test/00")
    assert (cat["published_key"], cat["width"], cat[TOPK]) == ("published cat", 10, "Conditioned cat.")
    assert (cat["status"], cat["captioner_id"], cat["re_length"]) == ("success", "Recap-DataComp-1B", 5)
    assert (failed["status"], failed["error_message"]) == ("failed_to_download", "HTTP 404")
    assert (stranger["status"], stranger["error_message"]) == ("not_published", "no published row has this sha256")
    [bird] = read_sidecar_table(web / "side", "00000008").to_pylist()
    assert (bird[TOPK], bird["status"], bird["org_caption"]) == ("Conditioned bird.", "success", None)
    assert bird["re_condition_length"] == 2
    assert read_mark(web / "side", "00000000")["status_dict"] == {
        "failed_to_download": 1,
        "not_published": 1,
        "success": 2,
    }


def test_scores_that_are_all_zero_in_a_file_are_none(web: Path) -> None:
    import_captions(config(web))
    [cat, *_] = read_sidecar_table(web / "side", "00000000").to_pylist()
    dog = read_sidecar_table(web / "side", "00000007").to_pylist()[1]
    assert (cat["re_clip_score"], cat["re_gpt4v_score"]) == (None, None)
    assert (dog["re_clip_score"], dog["org_clip_score"]) == (0.25, None)


def test_all_sidecars_have_the_same_columns(web: Path) -> None:
    import_captions(config(web))
    schemas = [read_sidecar_table(web / "side", name).schema for name in ("00000000", "00000007", "00000008")]
    assert all(set(schema.names) - {"width"} == set(schemas[2].names) for schema in schemas)
    assert schemas[0].field("re_condition_length").type == pyarrow.int64()


def test_a_stopped_import_goes_on(web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = importing.keep_matched

    def stop_at_the_second(file: PublishedFile, index: DigestIndex, place: Path) -> None:
        if len(read) == 1:
            raise KeyboardInterrupt
        read.append(file.number)
        original(file, index, place)

    monkeypatch.setattr(importing, "keep_matched", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        import_captions(config(web))
    assert not list((web / "side").glob("*.parquet")) and not (web / "side" / "done.json").exists()
    monkeypatch.setattr(importing, "keep_matched", lambda *a: (read.append(a[0].number), original(*a)))
    written: list[str] = []
    write = importing.write_sidecar

    def stop_at_the_second_sidecar(folder: Path, name: str, *args: object, **kwargs: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(name)
        write(folder, name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "write_sidecar", stop_at_the_second_sidecar)
    with pytest.raises(KeyboardInterrupt):
        import_captions(config(web))
    monkeypatch.setattr(importing, "write_sidecar", lambda *a, **k: (written.append(a[1]), write(*a, **k)))
    facts = import_captions(config(web))
    assert read == [0, 1, 2] and written == ["00000000", "00000007", "00000008"]
    assert captions(web) == EXPECTED and facts["matched"] == 5
    assert import_captions(config(web)) == facts and len(written) == 3


def test_other_imports_and_foreign_sidecars_are_refused(web: Path) -> None:
    import_captions(config(web))
    with pytest.raises(UserError, match="this folder holds another import, differing in 'shards_in_memory'"):
        import_captions(config(web, shards_in_memory=2))
    (web / "foreign").mkdir()
    (web / "foreign" / "00000000_stats.json").write_text("{}")
    with pytest.raises(UserError, match="folder holds sidecars that were not imported"):
        places = {"shards": str(web / "shards"), "published": str(web / "published")}
        import_captions(ImportConfig(output_dir=web / "foreign", **places))


def test_files_without_captions_or_digests_are_named(web: Path) -> None:
    write_parquet(web / "published" / "other.parquet", [{"sha256": "x", "text": "y"}])
    with pytest.raises(UserError, match=r"other\.parquet: no published captions: found sha256, text"):
        import_captions(config(web))
    (web / "published" / "other.parquet").unlink()
    write_parquet(web / "shards" / "00000007.parquet", [{"key": "70"}])
    with pytest.raises(UserError, match=r"00000007\.parquet: parquet has no column sha256"):
        import_captions(config(web))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"Acme\xc2\xae shoes", "Acme® shoes"),
        (r"\xe2\x80\x98quoted\xe2\x80\x99", "‘quoted’"),
        (r"\xf0\x9f\x90\xb1 and \xF0\x9F\x90\xB6", "🐱 and 🐶"),
        (r"C:\xab\xcd", r"C:\xab\xcd"),
        (r"\xc3\xa9\xff\xc3", r"é\xff\xc3"),
        (r"\x41 stays \n too", r"\x41 stays \n too"),
        ("café", "café"),
    ],
)
def test_bytes_written_as_text_are_undone(text: str, meant: str) -> None:
    assert undo_byte_escapes(text) == meant


@settings(deadline=None)  # other work may share the machine
@given(st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"])))
def test_whatever_was_written_as_bytes_comes_back(text: str) -> None:
    escaped = "".join(c if c.isascii() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text)
    assert undo_byte_escapes(escaped) == text


def identities(names: list[str], urls: list[str]) -> pyarrow.Table:
    return pyarrow.table({"sha256": [digest(name) for name in names], "url": urls})


@settings(deadline=None)  # other work may share the machine
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=12),
)
def test_the_index_finds_what_a_plain_search_finds(
    own: list[tuple[int, str, str]], asked: list[tuple[str, str]]
) -> None:
    index = DigestIndex([(group, identities([name], [url])) for group, name, url in own])
    table = identities([name for name, _ in asked], [url for _, url in asked]).cast(identities(["a"], ["x"]).schema)
    pairs = index.match(table)
    expected = {}
    for row, (name, url) in enumerate(asked):
        first = [other for other, _ in asked].index(name) == row
        for group in {g for g, n, _ in own if n == name}:
            same = (group, name, url) in own
            if first or same:
                expected[group, row] = (int(same), sum(n == name for n, _ in asked) if first else 0)
    found = zip(pairs.groups.tolist(), pairs.rows.tolist(), strict=True)
    facts = zip(pairs.same_url.tolist(), pairs.num_alike.tolist(), strict=True)
    assert dict(zip(found, facts, strict=True)) == expected
    assert pairs.num_matched == sum(name in {n for _, n, _ in own} for name, _ in asked)


def test_placeholders_make_no_product_of_both_sides() -> None:
    many = 2000
    own = identities(["placeholder"] * many, [f"own {index}" for index in range(many)])
    published = identities(["placeholder"] * many, [f"published {index}" for index in range(many)])
    pairs = DigestIndex([(0, own), (1, own)]).match(published)
    assert len(pairs.rows) == 2 and pairs.num_alike.tolist() == [many, many]
    assert np.array_equal(pairs.groups, [0, 1])


def test_the_command_line_imports(
    web: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"shards": web / "shards", "published": web / "published", "output_dir": web / "side"}
    monkeypatch.setattr("sys.argv", ["recaption", "import", *(f"--{name}={place}" for name, place in places.items())])
    main()
    assert "matched 5" in capsys.readouterr().out


def test_coverage_counts_every_case(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [own_row("90", "cat"), own_row("91", None), own_row("92", "cat", status="failed_to_resize")]
    own_shard(web / "shards", 9, rows)
    given = {"shards": str(web / "shards"), "published": str(web / "published")}
    import_captions(ImportConfig(output_dir=web / "side", **given))
    coverage(CoverageConfig(recaptions=web / "side"))
    page = capsys.readouterr().out
    found = json.loads((web / "side" / "job" / "coverage" / "coverage.json").read_text())
    assert found["num_rows"] == 11 and found["num_shards"] == 4
    assert found["dead_links"] == {"failed_to_download: HTTP 404": 1, "failed_to_resize: failed_to_resize": 1}
    # 72 and 91 record no digest; "nobody's" is not published.
    assert (found["num_without_digest"], found["num_unmatched"], found["num_matched"]) == (2, 1, 6)
    # The placeholder is in two own rows, the cat in two with a picture.
    assert found["num_repeated_digests"] == 2 and found["num_matched_by_several"] == 2 and found["num_same_url"] == 1
    assert found["captions"] == {"re_caption": 5, TOPK: 3}
    sets = {"re_caption": 3, f"re_caption + {TOPK}": 2, TOPK: 1, "none": 5}
    assert found["caption_sets"] == sets and sum(sets.values()) == found["num_rows"]
    assert (found["num_published_read"], found["num_published_matched"]) == (8, 7)
    assert "| with a picture" in page and "failed_to_download: HTTP 404" in page


def test_coverage_of_a_run_is_refused(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "side", "00000", [{"key": "0", "re_caption": "A boat."}])
    with pytest.raises(UserError, match=r"no finished import of the published captions: found no done.json"):
        coverage(CoverageConfig(recaptions=tmp_path / "side"))
