"""Audits of claims: exact against scene graphs, and by a judge that is scripted, kept, and paid once."""

import json
from pathlib import Path

import pytest

from imagetext.shards import ShardRow, make_key, write_shard
from imagetext.sidecars import write_sidecar
from miniweb import grammar
from miniweb.claims import check, parse
from miniweb.scene import Scene, Thing
from recaption.audit.config import AuditConfig, JudgeConfig, ServedModelConfig
from recaption.audit.protocol import UnreadableAnswerError, read_claims, read_verdicts, window
from recaption.audit.running import audit
from recaption.input_config import MovedInput
from runtime import seeds
from runtime.errors import UserError
from tests.recaption.conftest import jpeg
from tests.recaption.scripted_judge import JudgeScript, judging

SCENE = Scene(
    background="meadow",
    things=(Thing(kind="boat", species="marlow", colour="red", size="large", x=0.5, y=0.5, scale=0.2),),
)
RED = "A red boat on a meadow."
GREEN = "A green boat and two trees on a meadow."
CLAIMS = {
    "alt 0": [("object", "alt", "scene")],
    "alt 1": [],
    "alt 2": [("text_rendering", "no text", "scene")],
    RED: [("object", "boat", "boat"), ("attribute", "a red", "boat"), ("attribute", "Red", "boat")],
    GREEN: [("object", "boat", "boat"), ("attribute", "green", "boat"), ("count", "two", "trees")],
}
VERDICTS = {"green": "no", "two": "uncertain"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Imported captions of three pictures, one of them rightly described."""
    texts = [RED, GREEN, RED]
    scene = json.dumps(SCENE.to_json())
    rows = [
        ShardRow(key=make_key(0, i), image=jpeg(i), caption=f"alt {i}", metadata={"scene": scene}) for i in range(3)
    ]
    write_shard(tmp_path / "shards", 0, rows)
    sidecar = [
        {"key": make_key(0, i), "org_caption": f"alt {i}", "re_caption": text, "status": "success"}
        for i, text in enumerate(texts)
    ]
    write_sidecar(tmp_path / "side", "00000", sidecar)
    return tmp_path


def config(run: Path, by: str, url: str = "http://127.0.0.1:9", **fields: object) -> AuditConfig:
    judge = JudgeConfig(model=ServedModelConfig(servers=[url], dollars_per_million_input_tokens=1e6), concurrency=2)
    given = {"judge": judge, "input": MovedInput(shards=str(run / "shards")), **fields}
    return AuditConfig(recaptions=run / "side", by=by, **given)  # type: ignore[arg-type]


def record_of(run: Path) -> dict[str, dict[str, object]]:
    return json.loads((run / "side" / "job" / "audit" / "audit.json").read_text())["sources"]  # type: ignore[no-any-return]


def test_scenes_are_exact(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(config(run, "scenes"))
    found = record_of(run)["re_caption"]
    checked = [check(parse(text), SCENE) for text in (RED, GREEN, RED)]
    assert found["num_claims"] == sum(one.num_claims for one in checked)
    wrong = sum(len(one.unsupported) + len(one.void) for one in checked)
    assert found["unsupported_share"]["value"] == pytest.approx(wrong / found["num_claims"])  # type: ignore[index]
    assert found["unsupported_share_by_kind"]["colour"]["value"] == pytest.approx(1 / 3)  # type: ignore[index]
    assert "Protocol: claims parsed" in capsys.readouterr().out


def test_a_perfect_description_misses_nothing(run: Path) -> None:
    told = grammar.describe(SCENE, seeds.numpy_generator("test"))
    row = {"key": make_key(0, 0), "org_caption": "x", "re_caption": told, "status": "success"}
    others = [{"key": make_key(0, i), "org_caption": "x", "re_caption": told, "status": "success"} for i in (1, 2)]
    write_sidecar(run / "side", "00000", [row, *others])
    audit(config(run, "scenes", columns=["re_caption"]))
    found = record_of(run)["re_caption"]
    assert found["coverage"]["value"] == 1.0 and found["unsupported_share"]["value"] == 0.0  # type: ignore[index]


def test_the_judge_sees_claims_and_pictures_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = JudgeScript(claims=CLAIMS, verdicts=VERDICTS, failures=1)
    with judging(script) as url:
        audit(config(run, "judge", url))
    told = capsys.readouterr().out
    # The cost comes first, and the page names the judge and keeps others' numbers in a table of their own.
    assert told.startswith("audit: 6 captions: 12 requests to make, 0 answered before; about ")
    assert "judged with the picture by judge" in told and "audited by others" in told
    found = record_of(run)["re_caption"]
    # "a red" and "Red" are one claim, so two, three and two.
    assert (found["num_captions"], found["num_failed"], found["num_claims"]) == (3, 0, 7)
    assert found["unsupported_share"]["value"] == pytest.approx(1 / 7)  # type: ignore[index]
    assert found["uncertain_share"]["value"] == pytest.approx(1 / 7)  # type: ignore[index]
    assert found["missed"] is None and found["supported"]["value"] == pytest.approx(5 / 3)  # type: ignore[index]
    assert record_of(run)["org_caption"]["num_claims"] == 1
    extractions = [body for body in script.bodies if len(body["messages"][0]["content"]) == 1]
    judgements = [body for body in script.bodies if len(body["messages"][0]["content"]) == 2]
    # Two pictures have one caption, which is read once; "alt 1" and "alt 2" claim nothing to ask about.
    assert (len(extractions), len(judgements)) == (5, 4)
    assert not any(caption in body["messages"][0]["content"][1]["text"] for body in judgements for caption in CLAIMS)
    assert judgements[0]["response_format"]["json_schema"]["schema"]["required"] == ["answers"]


def test_answers_are_paid_once_and_a_stopped_audit_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = JudgeScript(claims=CLAIMS, verdicts=VERDICTS, garbled="green")
    with judging(script) as url:
        audit(config(run, "judge", url))
        first = record_of(run)
        assert first["re_caption"]["num_failed"] == 1 and first["re_caption"]["num_claims"] == 4
        asked = script.num_asked
        script.garbled = None
        audit(config(run, "judge", url))
        # What could not be read was not kept: its claims and their verdicts alone are asked now.
        assert script.num_asked == asked + 2 and record_of(run)["re_caption"]["num_failed"] == 0
        capsys.readouterr()
        audit(config(run, "judge", url))
        assert script.num_asked == asked + 2
    assert "0 requests to make, 10 answered before; about 0 tokens" in capsys.readouterr().out


def test_an_estimate_asks_nothing_and_a_limit_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = JudgeScript(claims=CLAIMS, verdicts=VERDICTS)
    with judging(script) as url:
        audit(config(run, "judge", url, estimate_only=True))
        assert script.num_asked == 0 and "12 requests to make" in capsys.readouterr().out
        with pytest.raises(UserError, match=r"dollars_max: the audit would cost more than allowed: found about \d+"):
            audit(config(run, "judge", url, dollars_max=0.5))
        assert script.num_asked == 0


def test_bad_input(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no judge answers"):
        audit(config(run, "judge"))
    with pytest.raises(UserError, match="sidecar has no such column: found re_caption_short"):
        audit(config(run, "scenes", columns=["re_caption_short"]))
    with pytest.raises(UserError, match=r"no config.yaml says what was captioned.*input.shards"):
        audit(config(run, "scenes", input=MovedInput()))
    write_shard(run / "shards", 0, [ShardRow(key=make_key(0, i), image=jpeg(i)) for i in range(3)])
    with pytest.raises(UserError, match="row has no scene graph: wanted a column scene"):
        audit(config(run, "scenes", columns=["re_caption"]))
    write_shard(run / "shards", 0, [ShardRow(key=make_key(1, 0), image=jpeg(0))])
    with pytest.raises(UserError, match="the input is not the one that was captioned"):
        audit(config(run, "scenes"))


def test_answers_that_are_none() -> None:
    claims, left_out = read_claims('{"claims": [{"category": "object", "unit": "The boat", "target": "a boat"}]}')
    assert left_out == 0 and claims[0].question == "Is the visual claim 'a boat: The boat' supported by the image?"
    for answer in ("", "{}", '{"claims": [3]}', '{"claims": [{"category": "mood", "unit": "calm", "target": ""}]}'):
        with pytest.raises(UnreadableAnswerError):
            read_claims(answer)
    for answer in ('{"answers": []}', '{"answers": [{"id": "0", "answer": "maybe"}]}'):
        with pytest.raises(UnreadableAnswerError, match="answers to 1 questions"):
            read_verdicts(answer, claims)
    with pytest.raises(UnreadableAnswerError, match="answered twice"):
        read_verdicts('{"answers": [{"id": "0", "answer": "yes"}, {"id": "0", "answer": "no"}]}', claims)
    assert window("one  two\nthree", 2) == "one two"
