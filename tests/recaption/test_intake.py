"""What an intake finds, what a run makes of it, and what a takedown takes out."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image, ImageDraw

from imagetext.parquet import rows_of
from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import read_mark, read_sidecar_table
from recaption import verbs
from recaption.__main__ import spell_out
from recaption.config import VerifyConfig
from recaption.exchange.export_config import ExportConfig
from recaption.exchange.exporting import export
from recaption.inputs.units import InputRow
from recaption.intake.config import IntakeConfig, TakedownConfig
from recaption.intake.hooks import find_hook, flags_by, personal_data, unsafe
from recaption.intake.likeness import SeenPictures
from recaption.intake.running import intake
from recaption.intake.signatures import signature
from recaption.intake.takedown import take_down
from recaption.intake.unwanted import Unwanted
from runtime.errors import UserError
from tests.recaption.test_run import job


def drawn(seed: int, *, shift: int = 0) -> Image.Image:
    """Draw some shapes; `shift` turns their colours."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (240, 200), tuple(np.roll([220, 235, 250], shift).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = generator.integers(0, 160, 2).tolist()
        width, height = generator.integers(30, 80, 2).tolist()
        colour = np.roll(generator.integers(0, 200, 3), shift).tolist()
        pen.ellipse((x, y, x + width, y + height), fill=tuple(colour))
    return image


def encoded(image: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def shard_row(shard: int, index: int, image: Image.Image, quality: int = 92, **metadata: object) -> ShardRow:
    key = make_key(shard, index)
    return ShardRow(
        key=key,
        image=encoded(image, quality),
        caption=f"alt {key}",
        metadata={"url": f"http://images.test/{key}", **metadata},
    )


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Two shards: a picture, itself again, itself scaled and encoded again; another; one with a telephone number."""
    first = [
        shard_row(0, 0, drawn(0)),
        shard_row(0, 1, drawn(0)),
        shard_row(0, 2, drawn(1)),
        ShardRow(key=make_key(0, 3), image=None, status="failed_to_download", error_message="HTTP 404"),
    ]
    second = [
        shard_row(1, 0, drawn(0).resize((180, 150)), 60),
        shard_row(1, 1, drawn(0, shift=1)),
        shard_row(1, 2, drawn(2)),
    ]
    second[2].caption = "call +49 170 1234567 now"
    write_shard(tmp_path / "shards", 0, first)
    write_shard(tmp_path / "shards", 1, second)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "cat.jpg").write_bytes(encoded(drawn(2).resize((320, 266)), 70))
    blocked = hashlib.sha256(encoded(drawn(1))).hexdigest().upper()
    (tmp_path / "blocked.txt").write_text(f"# not wanted\n\n{blocked}\nhttp://elsewhere.test/x\n")
    return tmp_path


def config(web: Path, **fields: object) -> IntakeConfig:
    given = {"evaluation": [str(web / "evaluation")], "blocklists": [web / "blocked.txt"], **fields}
    given.setdefault("hooks", ["recaption.intake.hooks:personal_data"])
    return IntakeConfig(output_dir=web / "intake", shards=str(web / "shards"), **given)  # type: ignore[arg-type]


def test_pictures_that_look_alike_and_those_that_do_not() -> None:
    seen = SeenPictures(near_bits=12)
    pictures = [drawn(seed) for seed in range(60)]
    for place, picture in enumerate(pictures):
        assert seen.find(signature(picture)) is None
        seen.add(str(place), signature(picture))
    found = 0
    for place, picture in enumerate(pictures):
        scaled = Image.open(io.BytesIO(encoded(picture.resize((150, 125), Image.Resampling.BICUBIC), 70)))
        near = seen.find(signature(scaled.convert("RGB")))
        assert near is None or near[0] == str(place)
        found += near is not None
        # The same outlines in other colours are another picture.
        assert seen.find(signature(drawn(place, shift=1))) is None
    assert found >= 55


def test_an_intake_finds_what_was_planted(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    intake(config(web))
    counts = json.loads((web / "intake" / "intake.json").read_text())
    assert counts == {
        "units": 2, "rows": 7, "duplicates_by_sha256": 1, "duplicates_by_look": 1, "blocked": 1,
        "flagged_near_evaluation_image": 1, "flagged_personal_data": 1,
    }  # fmt: skip
    (match,) = pyarrow.parquet.read_table(web / "intake" / "evaluation_matches.parquet").to_pylist()
    assert (match["unit"], match["key"]) == ("00001", make_key(1, 2)) and match["evaluation_image"].endswith("cat.jpg")
    assert "42.9 % of the rows need no caption" in capsys.readouterr().out
    looked_at = (web / "intake" / "looks" / "00000.parquet").stat().st_mtime_ns
    intake(config(web, blocklists=[]))
    assert (web / "intake" / "looks" / "00000.parquet").stat().st_mtime_ns == looked_at
    assert json.loads((web / "intake" / "intake.json").read_text())["blocked"] == 0


def test_digests_alone_open_no_tar(web: Path) -> None:
    for tar in (web / "shards").glob("*.tar"):
        tar.write_bytes(b"")
    intake(config(web, perceptual=False, evaluation=[], hooks=[]))
    counts = json.loads((web / "intake" / "intake.json").read_text())
    assert (counts["duplicates_by_sha256"], counts["duplicates_by_look"], counts["blocked"]) == (1, 0, 1)


def test_duplicates_are_captioned_once_and_get_the_caption(web: Path, model: Path) -> None:
    intake(config(web))
    run = job(model, web / "side", shards=str(web / "shards"), intake=web / "intake")
    verbs.run(run)
    rows = {row["key"]: row for name in ("00000", "00001") for row in rows_of(read_sidecar_table(web / "side", name))}
    original, same, scaled = (rows[make_key(*place)] for place in ((0, 0), (0, 1), (1, 0)))
    assert original["duplicate_of"] is None and original["attempts"] == 1
    for one in (same, scaled):
        assert one["duplicate_of"] == f"00000/{make_key(0, 0)}" and one["attempts"] == 0
        assert one["re_caption"] == original["re_caption"] and one["status"] == "success"
        assert one["org_caption"] == f"alt {one['key']}"
    blocked = rows[make_key(0, 2)]
    assert (blocked["status"], blocked["re_caption"]) == ("blocked", None)
    assert blocked["error_message"] == "on the list blocked.txt"
    flagged = rows[make_key(1, 2)]["flags"]
    assert {"personal_data", "near_evaluation_image"} <= set(flagged)
    mark = read_mark(web / "side", "00000")
    assert mark["status_dict"] == {"blocked": 1, "failed_to_download": 1, "success": 2}
    assert "duplicate" not in json.dumps(mark["reasons"])
    # The run is whole: verify agrees, and a second start finds nothing to do.
    verbs.verify(VerifyConfig(output_dir=web / "side"))
    before = (web / "side" / "00001.parquet").read_bytes()
    verbs.run(run)
    assert (web / "side" / "00001.parquet").read_bytes() == before
    with pytest.raises(UserError, match="no intake here"):
        verbs.run(job(model, web / "other", shards=str(web / "shards"), intake=web / "shards"))


def test_a_takedown_reaches_sidecars_and_exports(web: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.run(job(model, web / "side", shards=str(web / "shards")))
    export(ExportConfig(output_dir=web / "tars", recaptions=web / "side", format="webdataset"))
    export(ExportConfig(output_dir=web / "hub", recaptions=web / "side", format="huggingface"))
    url = f"http://images.test/{make_key(1, 2)}"
    (web / "gone.txt").write_text(f"{hashlib.sha256(encoded(drawn(0))).hexdigest()}\n{url}\n")
    folders = [web / "side", web / "tars", web / "hub"]
    take_down(TakedownConfig(folders=folders, lists=[web / "gone.txt"], dry_run=True))
    assert capsys.readouterr().out.count("3 rows would be taken down") == 3
    take_down(TakedownConfig(folders=folders, lists=[web / "gone.txt"]))
    assert capsys.readouterr().out.count("3 rows were taken down") == 3
    rows = {row["key"]: row for row in rows_of(read_sidecar_table(web / "side", "00000"))}
    gone = rows[make_key(0, 0)]
    assert gone["status"] == "taken_down" and gone["sha256"] is not None
    assert not any(gone[name] for name in ("re_caption", "org_caption", "url", "clean_caption"))
    assert rows[make_key(0, 2)]["re_caption"]
    verbs.verify(VerifyConfig(output_dir=web / "side"))
    hidden = web / "tars" / "00001.tar"
    assert make_key(1, 2).encode() not in hidden.read_bytes() and make_key(1, 1).encode() in hidden.read_bytes()
    stats = json.loads((web / "tars" / "00001_stats.json").read_text())
    assert stats["status_dict"] == {"success": 2, "taken_down": 1}
    kept = [row for p in (web / "hub" / "data").glob("*.parquet") for row in pyarrow.parquet.read_table(p).to_pylist()]
    assert sorted(row["key"] for row in kept) == [make_key(0, 2), make_key(1, 0), make_key(1, 1)]
    # Nothing is left to take down.
    take_down(TakedownConfig(folders=folders, lists=[web / "gone.txt"]))
    assert capsys.readouterr().out.count(" 0 rows were taken down") == 3


def test_hooks_say_flags() -> None:
    def row(caption: str, **columns: object) -> InputRow:
        return InputRow(key="0", image=None, caption=caption, columns=columns)

    assert personal_data(row("write to a.b@mail.example.org")) and personal_data(row("call 030 / 123 456 78"))
    assert not personal_data(row("12 red boats, 1920x1080, 2019-07-04, ISBN ok"))
    assert unsafe(row("", punsafe=0.7)) and unsafe(row("", NSFW="UNSURE")) and not unsafe(row("", NSFW="UNLIKELY"))
    assert flags_by([find_hook("recaption.intake.hooks:unsafe")], row("", punsafe=0.9)) == ["unsafe"]
    with pytest.raises(UserError, match=r"no such hook: found recaption\.intake\.hooks:nothing"):
        find_hook("recaption.intake.hooks:nothing")
    with pytest.raises(UserError, match="no name of a flag: found Not A Name"):
        flags_by([lambda _: ["Not A Name"]], row(""))


def test_bad_input(web: Path) -> None:
    (web / "bad.txt").write_text("http://a.test/x\nabc\n")
    with pytest.raises(UserError, match=r"bad.txt:2: neither a sha256 nor a URL: found abc"):
        Unwanted([web / "bad.txt"])
    with pytest.raises(UserError, match="list can't be read"):
        Unwanted([web / "none.txt"])
    with pytest.raises(UserError, match="near-duplicates need pictures"):
        config(web, perceptual=False)
    with pytest.raises(UserError, match="near_bits: out of range: found 99"):
        config(web, near_bits=99)
    with pytest.raises(UserError, match="nothing to take down from"):
        take_down(TakedownConfig(folders=[web / "evaluation"], lists=[web / "blocked.txt"]))
    intake(config(web))
    with pytest.raises(UserError, match="this folder holds another intake"):
        intake(config(web, hooks=[]))
    assert spell_out("takedown", ["a", "b", "--lists", "[l]"]) == ["--folders", '["a", "b"]', "--lists", "[l]"]
