"""A bake-off of a finished run, settings of ours, and settings of a captioner behind a server."""

import json
from pathlib import Path

import pytest

from recaption import verbs
from recaption.__main__ import main, spell_out
from recaption.comparison.config import CompareConfig, name_of, place_of
from recaption.comparison.contestants import Bout, Contestant, Said
from recaption.comparison.measuring import flags_of, stand
from recaption.comparison.verbs import compare
from recaption.inputs.units import InputRow
from recaption.job.progress import summarise
from recaption.sampling import SampledRow
from runtime.errors import UserError
from tests.recaption.scripted_judge import JudgeScript, judging
from tests.recaption.test_run import job

SETTINGS = "device: cpu\nmax_new_tokens: 8\nbatch_size: 4\nengine: {supervised: false}\n"


def sampled(key: str, sha256: str | None = None) -> SampledRow:
    row = InputRow(key=key, image=b"", sha256=sha256)
    return SampledRow(unit="00000", row=row, sidecar={}, num_passed=1)


def contestant(*texts: str | None) -> Contestant:
    said = {f"00000/{i}": Said(text=text, status="success" if text else "gave_up") for i, text in enumerate(texts)}
    totals = summarise([], now=0.0)
    return Contestant(name="x", place=Path("x"), said=said, totals=totals, made_here=True, settings="")


def test_run_settings_and_server_side_by_side(
    model: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs.run(job(model, tmp_path / "side", shards=str(shards)))
    (tmp_path / "short.yaml").write_text(f"model: {model}\nprompt: '@short'\n{SETTINGS}")
    script = JudgeScript(claims={"A red boat on a meadow.": [("object", "boat", "boat")]}, verdicts={"boat": "no"})
    with judging(script) as url:
        (tmp_path / "served.yaml").write_text(
            f"model: judge\ncaptioner: openai\nopenai: {{servers: ['{url}'], image_format: jpeg}}\n{SETTINGS}"
        )
        places = [str(tmp_path / name) for name in ("side", "short.yaml", "served.yaml")]
        flags = ["--output_dir", str(tmp_path / "out"), "--num_images", "9", "--num_shown", "6", "--claims", "judge"]
        judge = ["--judge.model.servers", json.dumps([url])]
        monkeypatch.setattr("sys.argv", ["recaption", "compare", *places, *flags, *judge])
        main()
    told = capsys.readouterr().out
    assert "requests to make" in told and "| words" in told
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert list(record["standings"]) == ["side", "short", "served"]
    served = record["standings"]["served"]
    # Everyone saw the same pictures; of these some can't be decoded, by anyone.
    assert {each["num_rows"] for each in record["standings"].values()} == {record["num_images"]}
    assert len({json.dumps(each["statuses"]) for each in record["standings"].values()}) == 1
    assert served["words"]["value"] == 6 and served["repeated"]["value"] == 1.0 and served["made_here"]
    assert record["audited"]["served"]["unsupported_share"]["value"] == 1.0
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count('class="card"') == 6 and "A red boat on a meadow." in page


def test_repeats_are_of_other_pictures() -> None:
    rows = [sampled("0", "a"), sampled("1", "a"), sampled("2"), sampled("3")]
    one = contestant("A boat.", "a boat", "A tree house.", None)
    found = stand(Bout(rows=rows, contestants=[one]))["x"]
    assert found.repeated.value == 0 and found.statuses == {"success": 3, "gave_up": 1}
    found = stand(Bout(rows=[sampled(str(i)) for i in range(4)], contestants=[one]))["x"]
    assert found.repeated.value == pytest.approx(2 / 3)


def test_flags_are_found_whoever_made_the_caption() -> None:
    said = Said(text="I'm sorry, but I can't help with that.", status="success", flags=("prompt_echo",))
    assert set(flags_of(said)) >= {"refusal", "prompt_echo"}
    assert flags_of(Said(text=None, status="gave_up")) == ()


def test_names_and_arguments() -> None:
    assert name_of("runs/a") == "a" and name_of("ours=runs/a") == "ours" and place_of("ours=runs/a") == Path("runs/a")
    told = spell_out("compare", ["a", "b.yaml", "--output_dir", "o"])
    assert told == ["--captioners", '["a", "b.yaml"]', "--output_dir", "o"]


def test_bad_input(tmp_path: Path) -> None:
    def told(*captioners: str, **fields: object) -> CompareConfig:
        return CompareConfig(captioners=list(captioners), output_dir=tmp_path / "o", **fields)  # type: ignore[arg-type]

    with pytest.raises(UserError, match="too few to compare: found 1"):
        told("a")
    with pytest.raises(UserError, match="captioners of one name: found a"):
        told("x/a", "y/a")
    with pytest.raises(UserError, match=r"no captioner: found .*nowhere"):
        compare(told(str(tmp_path / "nowhere"), "b"))
    with pytest.raises(UserError, match="too few captions: found 1 of 2 pictures"):
        stand(Bout(rows=[sampled("0"), sampled("1")], contestants=[contestant("A boat.", None)]))
