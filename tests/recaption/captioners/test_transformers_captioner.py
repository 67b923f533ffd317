"""The embedded captioner behind the seam: a stream in, results under tickets out, whatever stands beside a row."""

import pickle
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from imagetext.conversations import PAPER_PROMPT
from recaption.captioners.base import Answered, Captioner, Failed, Hole, Item, Request, UnitEnd
from recaption.captioners.opening import open_captioner
from recaption.captioners.transformers_captioner import TransformersCaptioner, identify_captioner
from tests.recaption.captioners.conftest import config, picture

SHORT = "What is it?"


def requests(captioner: Captioner, tickets: Sequence[int], prompts: tuple[str, ...] = (PAPER_PROMPT,)) -> list[Item]:
    return [
        Request(ticket=ticket, picture=captioner.prepare(picture(ticket)), prompts=prompts, key=f"{ticket:05d}")
        for ticket in tickets
    ]


def captions(captioner: Captioner, items: list[Item]) -> dict[int, tuple[str, ...]]:
    results = list(captioner.answer(iter(items)))
    assert all(isinstance(result, Answered) for result in results)
    return {
        result.ticket: tuple(caption.text for caption in result.captions)
        for result in results
        if isinstance(result, Answered)
    }


def test_every_ticket_gets_its_own_caption(captioner: TransformersCaptioner) -> None:
    found = captions(captioner, [*requests(captioner, range(6)), UnitEnd(), *requests(captioner, range(6, 8))])
    alone = {ticket: captions(captioner, requests(captioner, [ticket]))[ticket] for ticket in range(8)}
    assert found == alone


def test_several_prompts_about_a_picture_are_each_answered_alone(captioner: TransformersCaptioner, model: Path) -> None:
    opened = open_captioner(config(model, more_prompts={"short": SHORT}))
    both = captions(opened, requests(opened, range(5), (PAPER_PROMPT, SHORT)))
    for place, prompt in enumerate((PAPER_PROMPT, SHORT)):
        single = captions(captioner, requests(captioner, range(5), (prompt,)))
        assert {ticket: texts[place] for ticket, texts in both.items()} == {t: texts[0] for t, texts in single.items()}


def test_results_of_healthy_rows_do_not_depend_on_holes(captioner: TransformersCaptioner) -> None:
    whole = requests(captioner, range(7))
    holed: list[Item] = [Hole() if place in (0, 2, 5) else item for place, item in enumerate(whole)]
    healthy = {item.ticket for item in holed if isinstance(item, Request)}
    wanted = {result.ticket: result for result in captioner.answer(iter([*whole, UnitEnd()]))}
    found = {result.ticket: result for result in captioner.answer(iter([*holed, UnitEnd()]))}
    assert found.keys() == healthy
    assert all(found[ticket].captions[0].text == wanted[ticket].captions[0].text for ticket in healthy)  # type: ignore[union-attr]


def test_a_poisonous_row_is_named_and_the_others_are_captioned(captioner: TransformersCaptioner) -> None:
    items = requests(captioner, range(4))
    items[1] = Request(ticket=1, picture=np.zeros((3, 7, 9), dtype=np.uint8), prompts=(PAPER_PROMPT,))
    results = {result.ticket: result for result in captioner.answer(iter(items))}
    failed = results.pop(1)
    assert isinstance(failed, Failed) and failed.kind == "rejected" and "ValueError" in failed.message
    assert len(results) == 3 and all(isinstance(result, Answered) for result in results.values())


def test_preparation_can_be_handed_to_another_process(captioner: TransformersCaptioner) -> None:
    prepare = pickle.loads(pickle.dumps(captioner.prepare))
    square = prepare(picture(3, (60, 15)))
    assert square.dtype == np.uint8 and np.array_equal(square, captioner.prepare(picture(3, (60, 15))))


def test_the_seam_is_kept(captioner: TransformersCaptioner) -> None:
    assert isinstance(captioner, Captioner)


@pytest.mark.parametrize(
    "changed",
    [{"max_new_tokens": 13}, {"batch_size": 8}, {"precision": "bf16"}, {"deterministic": False}, {"temperature": 1.0}],
)
def test_the_id_covers_what_shapes_captions(model: Path, changed: dict[str, object]) -> None:
    assert identify_captioner(config(model, **changed)) != identify_captioner(config(model))


def test_the_id_leaves_out_what_does_not(captioner: TransformersCaptioner, model: Path) -> None:
    other = config(model, workers=3, threads=2, shards="elsewhere")
    assert identify_captioner(other) == captioner.captioner_id


@pytest.fixture(scope="module")
def streaming(model: Path) -> TransformersCaptioner:
    opened = open_captioner(config(model, deterministic=False))
    assert isinstance(opened, TransformersCaptioner)
    return opened


def test_rows_in_free_slots_get_the_captions_of_fixed_batches(
    captioner: TransformersCaptioner, streaming: TransformersCaptioner
) -> None:
    items = [*requests(captioner, range(6)), Hole(), UnitEnd(), *requests(captioner, range(6, 11)), UnitEnd()]
    assert captions(streaming, items) == captions(captioner, items)
    assert captions(streaming, []) == {}


def test_a_poisonous_row_in_a_stream_is_named_and_the_others_are_captioned(
    captioner: TransformersCaptioner, streaming: TransformersCaptioner
) -> None:
    items = requests(captioner, range(12))
    wanted = captions(captioner, items)
    items[5] = Request(ticket=5, picture=np.zeros((3, 7, 9), dtype=np.uint8), prompts=(PAPER_PROMPT,))
    results = {result.ticket: result for result in streaming.answer(iter(items))}
    failed = results.pop(5)
    assert isinstance(failed, Failed) and failed.kind == "rejected"
    found = {ticket: (result.captions[0].text,) for ticket, result in results.items() if isinstance(result, Answered)}
    assert found == {ticket: texts for ticket, texts in wanted.items() if ticket != 5}


def test_an_error_of_the_stream_itself_is_raised(streaming: TransformersCaptioner) -> None:
    def broken() -> Iterator[Item]:
        yield from requests(streaming, range(3))
        raise OSError("the shard is gone")

    with pytest.raises(OSError, match="the shard is gone"):
        list(streaming.answer(broken()))


def test_draws_follow_seed_and_key_alone(model: Path) -> None:
    def drawn(**fields: object) -> dict[int, tuple[str, ...]]:
        opened = open_captioner(config(model, temperature=1.0, top_k=20, **fields))
        return captions(opened, requests(opened, range(6)))

    assert drawn() == drawn(deterministic=False) == drawn(batch_size=2)
    assert drawn() != drawn(seed=1)


def test_prefill_and_decode_are_timed_apart(captioner: TransformersCaptioner, streaming: TransformersCaptioner) -> None:
    for opened in (captioner, streaming):
        opened.take_seconds()
        began = time.monotonic()
        captions(opened, requests(opened, range(6)))
        passed, taken = time.monotonic() - began, opened.take_seconds()
        assert taken.keys() == {"prefill", "decode"} and min(taken.values()) > 0.0
        assert sum(taken.values()) < passed and not opened.take_seconds()
