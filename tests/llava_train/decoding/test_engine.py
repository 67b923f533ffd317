"""The engine says what transformers' own generate says, however rows are batched, refilled, moved or interrupted."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from llava_train.decoding.engine import SlotEngine
from llava_train.decoding.questions import Ask, EngineSettings, Question, Said, settings_for
from runtime.errors import UserError
from tests.llava_train.decoding.random_llava import (
    CONSTRUCTIONS,
    IMAGE_TOKEN,
    MAX_NEW_TOKENS,
    NUM_PATCHES,
    STOP_IDS,
    asks,
    by_transformers,
    open_engine,
    prompt,
    random_llava,
)

LLAVA = random_llava()


def tokens(said: list[Said]) -> dict[int, list[list[int]]]:
    return {one.ticket: [list(answer.token_ids) for answer in one.answers] for one in said}


@pytest.fixture(scope="module")
def expected() -> dict[int, list[list[int]]]:
    answers = {ask.ticket: by_transformers(LLAVA, ask) for ask in asks(20)}
    lengths = {len(answer) for (answer,) in answers.values()}
    assert len(lengths) > 3 and MAX_NEW_TOKENS in lengths, "rows end at many lengths, some by the limit"
    return answers


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_every_construction_says_what_transformers_says(name: str) -> None:
    llava = random_llava(name)
    wanted = {ask.ticket: by_transformers(llava, ask) for ask in asks(6)}
    assert tokens(open_engine(llava).answer(asks(6))) == wanted
    assert len({str(answer) for answer in wanted.values()}) > 3, "pictures make a difference"


@pytest.mark.parametrize("refill", [True, False])
@pytest.mark.parametrize("steps_per_check", [1, 3])
@pytest.mark.parametrize("num_slots", [1, 5, 64])
def test_a_stream_says_the_same(
    expected: dict[int, list[list[int]]], refill: bool, steps_per_check: int, num_slots: int
) -> None:
    engine = open_engine(LLAVA, refill=refill, steps_per_check=steps_per_check, num_slots=num_slots)
    assert tokens(list(engine.run(iter(asks(20))))) == expected
    assert tokens(list(engine.run(iter(asks(20)[::-1])))) == expected, "the order of pictures makes no difference"


def test_finish_reason_and_log_probability(expected: dict[int, list[list[int]]]) -> None:
    said = [one.answers[0] for one in open_engine(LLAVA, num_slots=20).answer(asks(20))]
    assert {answer.finish_reason for answer in said} == {"stop", "length"}
    for ask, answer in zip(asks(20), said, strict=True):
        length = len(answer.token_ids)
        assert (answer.finish_reason == "length") == (length == MAX_NEW_TOKENS)
        assert answer.mean_logprob == pytest.approx(mean_logprob(ask, answer.token_ids), rel=1e-4)


@torch.inference_mode()
def mean_logprob(ask: Ask, answer: tuple[int, ...]) -> float:
    """Return it by one pass over prompt and answer; an answer cut short counts the likelier stop token after it."""
    ids = torch.tensor([[*ask.questions[0].token_ids, *answer]])
    pixels = torch.from_numpy(ask.pixels[None]).float() / 64 - 2
    scores = LLAVA(input_ids=ids, pixel_values=pixels).logits.log_softmax(-1)[0, len(ask.questions[0].token_ids) - 1 :]
    chosen = [float(row[token]) for row, token in zip(scores, answer)]
    if len(answer) < MAX_NEW_TOKENS:
        chosen.append(max(float(scores[-1][stop]) for stop in STOP_IDS))
    return sum(chosen) / len(chosen)


def test_questions_about_one_picture_share_its_work_and_say_the_same() -> None:
    suffixes = ((7, 8, 9), (10,), tuple(range(7, 27)))
    wanted = {ask.ticket: by_transformers(LLAVA, ask) for ask in asks(5, *suffixes)}
    engine = open_engine(LLAVA, num_slots=7)
    assert tokens(list(engine.run(iter(asks(5, *suffixes))))) == wanted
    assert tokens(open_engine(LLAVA, num_slots=15).answer(asks(5, *suffixes))) == wanted


def test_prompts_of_many_lengths_share_a_stream() -> None:
    mixed = [
        replace(ask, questions=(Question(token_ids=prompt(*range(7, 8 + 3 * index))),))
        for index, ask in enumerate(asks(12))
    ]
    wanted = {ask.ticket: by_transformers(LLAVA, ask) for ask in mixed}
    engine = open_engine(LLAVA, num_slots=4)
    assert tokens(list(engine.run(iter(mixed)))) == wanted, "the cache grows under answers that go on"
    assert tokens(engine.answer(mixed[:4])) == {ask.ticket: wanted[ask.ticket] for ask in mixed[:4]}


def test_a_fixed_batch_owes_nothing_to_the_company_of_a_row() -> None:
    engine = open_engine(LLAVA, num_slots=8)
    rows = asks(8)
    said = engine.answer(rows)
    others = [replace(asks(40)[30 + index], ticket=row.ticket) for index, row in enumerate(rows)]
    mixed = [other if index in (1, 4, 7) else row for index, (row, other) in enumerate(zip(rows, others))]
    again = engine.answer(mixed)
    for index in (0, 2, 3, 5, 6):
        assert said[index] == again[index], "every bit, the log-probability's too"
    assert [one.ticket for one in again] == [row.ticket for row in rows]
    assert said[1] != again[1]


def test_a_fixed_batch_that_shrinks_says_bit_for_bit_what_one_that_keeps_its_rows_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        replace(ask, questions=(Question(token_ids=prompt(*range(7, 8 + 9 * (index % 3 == 0)))),))
        for index, ask in enumerate(asks(32))
    ]
    numbers_of_rows: dict[str, list[int]] = {"kept": [], "shrunk": []}

    def answered(way: str) -> list[Said]:
        engine = open_engine(LLAVA, num_slots=32)
        assert isinstance(engine, SlotEngine)
        advance = engine._steps.advance

        def noting(num_rows: int, *, steps: int, extent: int) -> None:
            numbers_of_rows[way].append(num_rows)
            advance(num_rows, steps=steps, extent=extent)

        monkeypatch.setattr(engine._steps, "advance", noting)
        return engine.answer(rows)

    shrunk = answered("shrunk")
    monkeypatch.setattr(SlotEngine, "_steady_sizes", lambda self, num_rows: (num_rows,))
    assert answered("kept") == shrunk, "every bit, the log-probabilities' too"
    assert set(numbers_of_rows["kept"]) == {32}
    assert numbers_of_rows["shrunk"] == sorted(numbers_of_rows["shrunk"], reverse=True)
    assert min(numbers_of_rows["shrunk"]) < 32


def test_limit_stop_ids_batch_of_one_and_nothing() -> None:
    assert open_engine(LLAVA).answer([]) == []
    assert list(open_engine(LLAVA).run(iter([]))) == []
    first = open_engine(LLAVA, max_new_tokens=1, num_slots=2)
    wanted = {ask.ticket: by_transformers(LLAVA, ask, limit=1) for ask in asks(5)}
    assert tokens(list(first.run(iter(asks(5))))) == wanted
    assert tokens(first.answer(asks(1))) == {100: wanted[100]}
    forced = open_engine(LLAVA, stop_ids=(), steps_per_check=5)
    lengths = {len(one.answers[0].token_ids) for one in forced.run(iter(asks(9)))}
    assert lengths == {MAX_NEW_TOKENS}, "without stop tokens only the limit ends an answer"


def test_draws_depend_on_seed_and_place_alone() -> None:
    def drawn(num_slots: int, seed: int, top_k: int = 5, temperature: float = 1.0) -> dict[int, list[list[int]]]:
        engine = open_engine(LLAVA, num_slots=num_slots, max_top_k=5)
        rows = [
            replace(
                ask,
                questions=tuple(
                    replace(question, top_k=top_k, temperature=temperature, seed=seed + ask.ticket)
                    for question in ask.questions
                ),
            )
            for ask in asks(12)
        ]
        return tokens(list(engine.run(iter(rows))))

    greedy = {ask.ticket: by_transformers(LLAVA, ask) for ask in asks(12)}
    assert drawn(3, seed=0) == drawn(12, seed=0), "company makes no difference"
    assert drawn(3, seed=0) != drawn(3, seed=1)
    assert drawn(3, seed=0) != greedy
    assert drawn(3, seed=0, top_k=1) == greedy
    assert drawn(3, seed=0, temperature=1e-4) == greedy


def test_a_slow_producer_holds_no_answer_up() -> None:
    gate = threading.Event()

    def slowly() -> Iterator[Ask]:
        yield from asks(3)
        assert gate.wait(timeout=30), "the answers to the first three never came"
        yield from asks(5)[3:]

    answered = []
    for one in open_engine(LLAVA, num_slots=6, pictures_per_prefill=4).run(slowly()):
        answered.append(one.ticket)
        if len(answered) == 3:
            gate.set()
    assert sorted(answered) == [100, 101, 102, 103, 104]


def test_an_error_of_the_producer_arrives_and_the_engine_works_on() -> None:
    def broken() -> Iterator[Ask]:
        yield from asks(2)
        raise OSError("disk gone")

    engine = open_engine(LLAVA)
    with pytest.raises(OSError, match="disk gone"):
        list(engine.run(broken()))
    wanted = {ask.ticket: by_transformers(LLAVA, ask) for ask in asks(4)}
    assert tokens(list(engine.run(iter(asks(4))))) == wanted


def test_what_cannot_be_asked_is_refused() -> None:
    engine = open_engine(LLAVA, num_slots=2)
    with pytest.raises(ValueError, match="3 questions for 2 slots"):
        engine.answer(asks(3))
    with pytest.raises(ValueError, match="3 questions about one picture for 2 slots"):
        list(engine.run(iter(asks(1, (7,), (8,), (9,)))))
    (ask,) = asks(1)
    for wrong in ((5, 6, 7), (5, 6, *(IMAGE_TOKEN,) * (NUM_PATCHES - 1), 7)):
        with pytest.raises(ValueError, match="ask 100: a prompt must have 4 image tokens side by side"):
            engine.answer([replace(ask, questions=(Question(token_ids=wrong),))])
    other = Question(token_ids=(9, *prompt(7)[1:]))
    with pytest.raises(ValueError, match="the same tokens up to their last"):
        engine.answer([replace(ask, questions=(ask.questions[0], other))])
    with pytest.raises(UserError, match="num_slots: out of range: found 0, wanted >= 1"):
        EngineSettings(max_new_tokens=1, stop_ids=(), num_slots=0)


def test_devices_have_settings_of_their_own() -> None:
    chosen = {
        name: settings_for(torch.device(name), max_new_tokens=8, stop_ids=[1], num_slots=4) for name in ("cpu", "cuda")
    }
    assert (chosen["cpu"].refill, chosen["cuda"].refill) == (False, True)
    assert chosen["cuda"].steps_per_check > chosen["cpu"].steps_per_check == 1
