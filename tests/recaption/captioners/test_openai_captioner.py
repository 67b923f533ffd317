"""The captioner of servers, against one that misbehaves: every row is settled, once, under its own ticket."""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagetext.sidecars import read_sidecar_table
from llava_train.pixels import read_geometry
from recaption import verbs
from recaption.captioner_config import OpenAIConfig
from recaption.captioners import openai_captioner, servers
from recaption.captioners.base import Answered, Captioner, Failed, Hole, Item, Request, Result, UnitEnd
from recaption.captioners.chat import retry_after_seconds
from recaption.captioners.openai_captioner import OpenAICaptioner, identify_captioner
from recaption.captioners.servers import ServerRound
from recaption.config import RecaptionConfig
from recaption.engine_config import EngineConfig
from recaption.named_prompts import Decoding
from runtime.errors import UserError
from tests.recaption.captioners.conftest import picture
from tests.recaption.captioners.scripted_server import Script, picture_of, serving

PROMPT = "What is it?"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_captioner, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(servers, "FIRST_REST_SECONDS", 0.02)


def config(urls: Sequence[str], *, openai: dict[str, Any] | None = None, **fields: Any) -> RecaptionConfig:
    settings = OpenAIConfig(servers=list(urls), **{"timeout_seconds": 60.0, "concurrency": 8, **(openai or {})})
    fields = {"model": Path("tiny"), "prompt": PROMPT, "temperature": 0.0, **fields}
    return RecaptionConfig(output_dir=Path("side"), shards="shards", captioner="openai", openai=settings, **fields)


def request(ticket: int, name: str | None = None, prompts: tuple[str, ...] = (PROMPT,)) -> Request:
    return Request(ticket=ticket, picture=(name or str(ticket)).encode(), prompts=prompts, key=f"{ticket:05d}")


def settled(captioner: Captioner, items: Sequence[Item]) -> dict[int, Result]:
    """Return results by ticket; every request must have exactly one."""
    results = list(captioner.answer(iter(items)))
    by_ticket = {result.ticket: result for result in results}
    assert len(by_ticket) == len(results)
    assert set(by_ticket) == {item.ticket for item in items if isinstance(item, Request)}
    return by_ticket


MISDEEDS = {
    "500": ["500", "502", "503"], "limited": ["429 0.05"], "cut": ["cut", "cut"], "half": ["half"],
    "malformed": ["malformed"], "empty": ["empty choices"], "list": ["not an object"], "no content": ["no content"],
    "null": ["null content"], "parts": ["parts"], "two": ["two choices"], "endless": ["endless logprob"],
    "refused": ["400"], "filtered": ["filtered"], "long": ["length"], "bare": ["bare"],
}  # fmt: skip


def test_every_row_is_settled_once_whatever_the_server_does() -> None:
    script = Script(misdeeds=MISDEEDS)
    names = [*MISDEEDS, *(f"healthy {index}" for index in range(20))]
    items: list[Item] = [Hole()]
    for ticket, name in enumerate(names):
        items += [request(ticket, name), Hole()]
    with serving(script) as url:
        results = settled(OpenAICaptioner(config([url])), [*items, UnitEnd()])
    for ticket, name in enumerate(names):
        result = results[ticket]
        if name in ("refused", "filtered"):
            assert isinstance(result, Failed) and result.kind == "rejected"
            assert script.seen[name] == 1
        else:
            assert isinstance(result, Answered), result
            assert result.captions[0].text == ("a boat" if name == "bare" else f"{PROMPT} {name}")
    assert script.seen["500"] == 4 and script.seen["cut"] == 3 and script.seen["healthy 3"] == 1
    assert "status 400" in results[names.index("refused")].message  # type: ignore[union-attr]
    first, second = script.times["limited"]
    assert second - first >= 0.05


def test_a_row_whose_answer_hangs_is_asked_again() -> None:
    script = Script(misdeeds={"stuck": ["hang"]})
    with serving(script) as url:
        captioner = OpenAICaptioner(config([url], openai={"timeout_seconds": 2.0, "attempts": 20}))
        (result,) = settled(captioner, [request(0, "stuck")]).values()
    assert isinstance(result, Answered) and script.seen["stuck"] >= 2


def test_what_a_server_says_of_a_caption_is_kept() -> None:
    script = Script(misdeeds={"long": ["length"], "bare": ["bare"]})
    with serving(script) as url:
        items = [request(0, "plain"), request(1, "long"), request(2, "bare")]
        results = settled(OpenAICaptioner(config([url])), items)
    found = [result.captions[0] for result in results.values() if isinstance(result, Answered)]
    by_end = {caption.text.split()[-1]: caption for caption in found}
    # The stop token is the server's to count, and not part of the caption.
    assert (by_end["plain"].finish_reason, by_end["plain"].num_tokens, by_end["plain"].mean_logprob) == (
        "stop",
        4,
        -0.5,
    )
    assert (by_end["long"].finish_reason, by_end["long"].num_tokens) == ("length", 5)
    assert (by_end["boat"].num_tokens, by_end["boat"].mean_logprob) == (None, None)


@pytest.mark.parametrize(("deed", "kind"), [("503", "unavailable"), ("hang", "timeout"), ("malformed", "unavailable")])
def test_a_row_is_given_up_on_after_its_attempts(deed: str, kind: str) -> None:
    script = Script(misdeeds={"bad": [deed] * 9})
    with serving(script) as url:
        timeout_seconds = 0.2 if deed == "hang" else 60.0
        captioner = OpenAICaptioner(config([url], openai={"attempts": 3, "timeout_seconds": timeout_seconds}))
        results = settled(captioner, [request(0, "bad")])
    assert isinstance(results[0], Failed) and results[0].kind == kind and "asked 3 times" in results[0].message
    assert script.seen["bad"] <= 3


def test_a_row_is_given_up_on_when_its_time_is_over() -> None:
    script = Script(misdeeds={"bad": ["429 60"] * 9})
    with serving(script) as url:
        captioner = OpenAICaptioner(config([url], openai={"row_seconds": 1.0}))
        began = time.monotonic()
        results = settled(captioner, [request(0, "bad")])
    assert isinstance(results[0], Failed) and "HTTP 429" in results[0].message and script.seen["bad"] == 1
    assert time.monotonic() - began < 30


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    script = Script()
    with serving(script) as url:
        settled(OpenAICaptioner(config([url], openai={"concurrency": 3})), [request(ticket) for ticket in range(30)])
    assert 2 <= script.most_at_once <= 3


def test_results_come_out_while_the_stream_waits() -> None:
    script, more = Script(), threading.Event()

    def items() -> Iterator[Item]:
        yield request(0)
        assert more.wait(60)
        yield request(1)

    with serving(script) as url:
        answers = OpenAICaptioner(config([url])).answer(items())
        assert next(answers).ticket == 0
        more.set()
        assert [result.ticket for result in answers] == [1]


def test_what_the_stream_raises_is_raised() -> None:
    def items() -> Iterator[Item]:
        yield request(0)
        raise OSError("the shard is gone")

    with serving(Script()) as url, pytest.raises(OSError, match="the shard is gone"):
        list(OpenAICaptioner(config([url])).answer(items()))


def test_an_abandoned_stream_leaves_nothing_running() -> None:
    script = Script(fallback="hang")
    before = {thread.name for thread in threading.enumerate()}
    with serving(script) as url:
        captioner = OpenAICaptioner(config([url], openai={"timeout_seconds": 60.0, "concurrency": 2}))
        answers = captioner.answer(iter([request(0), request(1), request(2)]))
        threading.Timer(0.2, script.stopping.set).start()
        script.misdeeds = {"0": ["answer"]}
        assert next(answers).ticket == 0
        answers.close()  # type: ignore[attr-defined]
    wait_until = time.monotonic() + 20
    while {thread.name for thread in threading.enumerate()} - before and time.monotonic() < wait_until:
        time.sleep(0.01)
    assert "event loop" not in {thread.name for thread in threading.enumerate()}


def test_servers_take_turns_and_a_dead_one_is_left_out() -> None:
    scripts = [Script(), Script(), Script(fallback="500")]
    with serving(scripts[0]) as one, serving(scripts[1]) as two, serving(scripts[2]) as dead:
        captioner = OpenAICaptioner(config([one, dead, two], openai={"attempts": 20, "concurrency": 2}))
        results = settled(captioner, [request(ticket) for ticket in range(40)])
    assert all(isinstance(result, Answered) for result in results.values())
    healthy = [sum(script.seen.values()) for script in scripts[:2]]
    assert sum(healthy) == 40 and min(healthy) >= 10
    assert sum(scripts[2].seen.values()) < 20


def test_a_server_rests_longer_every_time_and_the_first_to_be_back_is_asked_when_all_rest() -> None:
    now = [0.0]
    round_ = ServerRound(["http://a/", "http://b"], now=lambda: now[0])
    a, b = round_.servers
    assert a.url == "http://a" and [round_.next() for _ in range(4)] == [a, b, a, b]
    round_.failed(a)
    round_.failed(a)
    assert a.rests_until == pytest.approx(2 * servers.FIRST_REST_SECONDS) and round_.only_choice(b)
    assert [round_.next() for _ in range(3)] == [b, b, b]
    round_.failed(b, wait_seconds=9.0)
    assert round_.next() is a
    now[0] = 10.0
    assert {round_.next().url, round_.next().url} == {"http://a", "http://b"}
    round_.answered(a)
    round_.failed(a)
    assert a.rests_until == pytest.approx(10 + servers.FIRST_REST_SECONDS)
    for _ in range(5000):
        round_.failed(a)
    assert a.rests_until == 10 + servers.REST_SECONDS_MAX


def test_several_prompts_are_answered_in_their_order() -> None:
    with serving(Script()) as url:
        captioner = OpenAICaptioner(config([url], more_prompts={"short": "@short"}))
        results = settled(captioner, [request(ticket, prompts=("first", "second")) for ticket in range(5)])
    for ticket, result in results.items():
        assert isinstance(result, Answered)
        assert [caption.text for caption in result.captions] == [f"first {ticket}", f"second {ticket}"]


def test_sampling_depends_on_seed_key_and_prompt_alone() -> None:
    def seeds_of(seed: int, tickets: Sequence[int]) -> dict[str, int]:
        script = Script()
        with serving(script) as url:
            captioner = OpenAICaptioner(config([url], temperature=0.7, top_k=5, seed=seed))
            settled(captioner, [request(ticket) for ticket in tickets])
        assert {(body["temperature"], body["top_k"]) for body in script.bodies} == {(0.7, 5)}
        return {picture_of(body): body["seed"] for body in script.bodies}

    several = seeds_of(0, range(6))
    assert len(set(several.values())) == 6 and seeds_of(0, [4]) == {"4": several["4"]}
    assert seeds_of(1, [4])["4"] != several["4"]


def test_greedy_requests_ask_for_no_sampling() -> None:
    script = Script()
    with serving(script) as url:
        settled(OpenAICaptioner(config([url], max_new_tokens=9)), [request(0)])
    (body,) = script.bodies
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.0, 9, "tiny")
    assert "seed" not in body and "top_k" not in body
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]


def test_a_row_asked_again_is_asked_as_it_says() -> None:
    script = Script()
    again = replace(request(1), decoding=Decoding(temperature=0.4, top_k=7, seed=3), max_new_tokens=30)
    with serving(script) as url:
        settled(OpenAICaptioner(config([url], max_new_tokens=9)), [request(0), again])
    told = {picture_of(body): (body["temperature"], body["max_tokens"], body.get("top_k")) for body in script.bodies}
    assert told == {"0": (0.0, 9, None), "1": (0.4, 30, 7)}


def test_the_key_is_sent_and_never_said(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    script = Script()
    with serving(script) as url:
        captioner = OpenAICaptioner(config([url], openai={"api_key_file": tmp_path / "key"}))
    assert script.authorizations == {"Bearer s3cret"} and "s3cret" not in repr(captioner._config)
    with pytest.raises(UserError, match="the key can't be read"):
        OpenAICaptioner(config(["http://127.0.0.1:9/v1"], openai={"api_key_file": tmp_path / "none"}))


def test_the_key_is_nowhere_in_what_a_job_writes(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    folder = tmp_path / "side"
    with serving(Script(fallback="400")) as url:
        job = config([url], openai={"api_key_file": tmp_path / "key"})
        verbs.run(replace(job, shards=str(shards), output_dir=folder, engine=EngineConfig(supervised=False)))
    rows = [row for name in ("00000", "00001", "00002") for row in read_sidecar_table(folder, name).to_pylist()]
    refused = [row["error_message"] for row in rows if row["status"] == "failed_to_caption"]
    assert len(refused) == 15 and set(refused) == {"HTTP 400: status 400 for Bearer [key]"}
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 6 and not any(b"s3cret" in path.read_bytes() for path in written)


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_server_that_refuses_the_job_stops_it_at_once(status: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    with serving(Script(fallback=status)) as url:
        captioner = OpenAICaptioner(config([url], openai={"api_key_file": tmp_path / "key"}))
        with pytest.raises(
            UserError, match=rf"refuses to answer: found HTTP {status}: status {status} for Bearer \[key"
        ):
            list(captioner.answer(iter([request(0)])))


def test_a_log_probability_that_is_no_number_is_left_out() -> None:
    with serving(Script(fallback="endless logprob")) as url:
        (result,) = settled(OpenAICaptioner(config([url])), [request(0)]).values()
    assert isinstance(result, Answered)
    assert (result.captions[0].num_tokens, result.captions[0].mean_logprob) == (4, None)


def test_when_nothing_answers_that_is_said_at_the_start() -> None:
    with pytest.raises(UserError, match=r"openai\.servers: no server answers: found http://127\.0\.0\.1:9/v1: Connect"):
        OpenAICaptioner(config(["http://127.0.0.1:9/v1"]))


def test_a_server_that_starts_late_is_waited_for() -> None:
    with serving(Script()) as url:
        captioner = OpenAICaptioner(config(["http://127.0.0.1:9/v1", url]))
        results = settled(captioner, [request(ticket) for ticket in range(10)])
    assert all(isinstance(result, Answered) for result in results.values())


def test_another_model_is_refused_and_the_only_one_is_taken() -> None:
    with serving(Script(models=["large"])) as url, serving(Script(models=["small", "large"])) as two:
        assert OpenAICaptioner(config([url]))._model == "large"
        with pytest.raises(UserError, match=r"served_name: .* serves no such model: found tiny, wanted large"):
            OpenAICaptioner(config([url], openai={"served_name": "tiny"}))
        with pytest.raises(UserError, match=r"model: .* serves no such model: found tiny, wanted small or large"):
            OpenAICaptioner(config([two]))
        with serving(Script(models=["other"])) as other, pytest.raises(UserError, match="know different models"):
            OpenAICaptioner(config([url, other]))


def test_a_llava_directory_sends_its_own_square_and_others_the_whole_picture(model: Path) -> None:
    wide = picture(1, (60, 15))
    with serving(Script(models=["x"])) as url:
        square = OpenAICaptioner(config([url], model=model)).prepare(wide)
        whole = OpenAICaptioner(config([url], max_side_px=30)).prepare(wide)
        jpeg = OpenAICaptioner(config([url], openai={"image_format": "jpeg"})).prepare(wide)
    expected = read_geometry(model).prepare(wide).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(square))), expected)
    assert Image.open(io.BytesIO(whole)).size == (30, 8)
    assert (Image.open(io.BytesIO(jpeg)).format, Image.open(io.BytesIO(jpeg)).size) == ("JPEG", (60, 15))


def test_the_id_covers_what_shapes_captions_and_no_addresses(model: Path) -> None:
    base = config(["http://a"], model=model)
    assert identify_captioner(base) == identify_captioner(
        config(["http://b", "http://c"], model=model, openai={"concurrency": 1, "attempts": 2})
    )
    others = [
        config(["http://a"]),
        config(["http://a"], model=model, max_new_tokens=5),
        config(["http://a"], model=model, temperature=0.5),
        config(["http://a"], model=model, openai={"image_format": "jpeg"}),
    ]
    assert len({identify_captioner(one) for one in [base, *others]}) == 5


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_seconds("2.5") == 2.5 and retry_after_seconds("-1") == 0
    assert retry_after_seconds(None) is None and retry_after_seconds("soon") is None
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_seconds("Wed, 21 Oct 2115 07:28:00 GMT")
    assert later is not None and later > 1e9


@pytest.mark.parametrize(
    ("openai", "message"),
    [
        ({"servers": []}, r"openai\.servers: empty"),
        ({"servers": ["localhost:8000"]}, r"no URL of a server: found localhost:8000, wanted http://HOST:PORT/v1"),
        (
            {"servers": ["http://me:s3cret@host/v1"]},
            r"servers: a URL that may hold a key: wanted a bare URL; a key goes",
        ),
        (
            {"servers": ["http://host/v1?key=s3cret"]},
            r"servers: a URL that may hold a key: wanted a bare URL; a key goes",
        ),
        ({"attempts": 0}, r"openai\.attempts: out of range: found 0"),
        ({"row_seconds": 0.0}, r"openai\.row_seconds: out of range: found 0\.0, wanted > 0"),
    ],
)
def test_settings_out_of_range_are_refused(openai: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OpenAIConfig(**openai)
