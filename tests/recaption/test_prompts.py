"""What captioners are asked: names, the rows' own captions, several prompts, ids, and captions that give it back."""

from pathlib import Path
from typing import Any

import pytest

from imagetext.alt_text_prompts import ALT_TEXT_MAX_CHARACTERS, clean_alt_text
from imagetext.conversations import PAPER_PROMPT
from recaption.captioners.identity import identify_prompt
from recaption.config import RecaptionConfig
from recaption.inputs.units import InputRow
from recaption.leaks import find_leaks, longest_run, trigram_share
from recaption.named_prompts import NAMED_PROMPTS, Decoding
from recaption.prompts import (
    decodings_for,
    identify_prompts,
    job_prompts,
    leaks_in,
    prompts_for,
    prompts_without_condition,
)
from runtime.errors import UserError


def config(**fields: Any) -> RecaptionConfig:
    return RecaptionConfig(model=Path("model"), output_dir=Path("side"), shards="shards", **fields)


def row(caption: str | None) -> InputRow:
    return InputRow(key="000", image=b"", caption=caption)


def test_the_default_is_the_papers_prompt_greedily() -> None:
    assert prompts_for(config(), row("A boat.")) == (PAPER_PROMPT,)
    assert prompts_for(config(prompt="@paper"), row("A boat.")) == (PAPER_PROMPT,)
    assert decodings_for(config())[0].greedy


def test_a_conditioned_prompt_knows_the_rows_caption_and_is_sampled() -> None:
    (asked,) = prompts_for(config(prompt="@conditioned"), row("Visby  harbour\n<b>2009</b>"))
    assert 'came with the text "Visby harbour 2009", which may be wrong' in asked
    assert decodings_for(config(prompt="@conditioned", seed=3)) == (Decoding(temperature=0.7, top_k=50, seed=3),)


def test_a_prompt_that_keeps_knowledge_takes_over_names_greedily() -> None:
    (asked,) = prompts_for(config(prompt="@knowledge"), row("Visby harbour"))
    assert asked.startswith(f'{PAPER_PROMPT} Its web page says "Visby harbour". From this, take over the names')
    assert decodings_for(config(prompt="@knowledge"))[0].greedy
    assert prompts_without_condition(config(prompt="@knowledge")) == (PAPER_PROMPT,)
    own = config(prompt="@knowledge")
    copied = "Visby harbour in May: my boat at the old quay"
    (flags,) = leaks_in(own, row(copied), prompts_for(own, row(copied)), [f"A boat. {copied}"])
    assert "alt_text_copied" in flags


@pytest.mark.parametrize("prompt", ["@conditioned", "@knowledge"])
@pytest.mark.parametrize("caption", [None, "", "  ", "123 / 456", "<br>"])
def test_a_row_without_words_is_asked_without_condition(caption: str | None, prompt: str) -> None:
    assert prompts_for(config(prompt=prompt), row(caption)) == (PAPER_PROMPT,)


def test_a_text_of_ones_own_may_want_the_rows_caption() -> None:
    own = config(prompt="Describe it; its alt-text is {alt_text}.")
    assert prompts_for(own, row("a boat")) == ("Describe it; its alt-text is a boat.",)
    assert prompts_without_condition(own) == (PAPER_PROMPT,)


def test_several_prompts_keep_their_order_and_columns() -> None:
    several = config(prompt="@detailed", more_prompts={"short": "@short", "known": "@conditioned"})
    assert list(job_prompts(several)) == ["re_caption", "re_caption_short", "re_caption_known"]
    asked = prompts_for(several, row("a boat"))
    assert asked[:2] == (NAMED_PROMPTS["detailed"].text, NAMED_PROMPTS["short"].text) and "a boat" in asked[2]
    assert [decoding.greedy for decoding in decodings_for(several)] == [True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "<image> a boat <|eot_id|>",
        "a boat<|start_header_id|>",
        "<start_of_turn>a boat",
        "[INST] a boat [IMG]",
        "a <boat",
    ],
)
def test_an_alt_text_brings_no_special_token_into_a_prompt(text: str) -> None:
    cleaned = clean_alt_text(text)
    assert cleaned is not None and "boat" in cleaned and not set("<>[]|") & set(cleaned)


def test_an_alt_text_is_cut_after_a_word_and_can_be_written_as_utf_8() -> None:
    cleaned = clean_alt_text("lighthouse " * 100)
    assert cleaned is not None and len(cleaned) <= ALT_TEXT_MAX_CHARACTERS and cleaned.endswith("lighthouse")
    endless = clean_alt_text("x" * 1000)
    assert endless == "x" * ALT_TEXT_MAX_CHARACTERS
    assert clean_alt_text("caf\udce9 \x00\u200b") == "caf?"


def test_the_id_is_that_of_the_words_not_of_the_name() -> None:
    assert identify_prompts(config(prompt="@paper")) == identify_prompts(config()) == identify_prompt(PAPER_PROMPT)
    others = [
        config(prompt="@short"),
        config(prompt="@conditioned"),
        config(more_prompts={"short": "@short"}),
        config(more_prompts={"brief": "@short"}),
        config(more_prompts={"short": "@detailed"}),
    ]
    assert len({identify_prompts(one) for one in [config(), *others]}) == 6


def test_the_jobs_settings_replace_a_prompts_own() -> None:
    assert decodings_for(config(prompt="@conditioned", temperature=0.0))[0].greedy
    assert decodings_for(config(temperature=1.5, seed=2)) == (Decoding(temperature=1.5, top_k=50, seed=2),)
    assert decodings_for(config(prompt="@conditioned", top_k=7)) == (Decoding(temperature=0.7, top_k=7),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "@poem"}, r"prompt: unknown prompt: found @poem, wanted a text, or one of @paper, @conditioned"),
        ({"more_prompts": {"short": "@poem"}}, r"more_prompts\.short"),
        ({"more_prompts": {"Short!": "@short"}}, "no ending of a column's name"),
        ({"prompt": "  "}, "empty"),
        ({"temperature": -0.1}, "temperature: out of range"),
        ({"temperature": 3.0}, "from 0 to 2"),
        ({"temperature": 1.0, "top_k": 0}, "top_k"),
        ({"top_k": 5}, "nothing is sampled"),
        ({"prompt": "@conditioned", "temperature": 0.0, "top_k": 5}, "nothing is sampled"),
    ],
)
def test_what_can_not_be_asked_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**fields)


def test_longest_run_against_all_runs() -> None:
    words, others = ["a", "b", "c", "a", "b", "d"], ["x", "a", "b", "d", "a", "b", "c", "a"]
    runs = [words[i:j] for i in range(6) for j in range(i, 7)]
    theirs = [others[i:j] for i in range(8) for j in range(i, 9)]
    assert longest_run(words, others) == max(len(run) for run in runs if run in theirs) == 4
    assert longest_run([], others) == longest_run(words, []) == 0


def test_trigram_share() -> None:
    assert trigram_share(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.5
    assert trigram_share(["a", "b"], ["a", "b"]) == 0.0


HARBOUR = "The image shows a harbour at dusk with several sailing boats in front of a row of red wooden houses."


@pytest.mark.parametrize(
    ("caption", "alt_text", "flags"),
    [
        (HARBOUR, "Visby harbour at dusk, Gotland", ()),
        (HARBOUR, "Several sailing boats in front of a row of houses", ("alt_text_copied",)),
        ("Buy cheap garden chairs online today", "BUY cheap garden chairs - online", ("alt_text_copied",)),
        ("Caption: " + HARBOUR, None, ("prompt_echo",)),
        ("Here is a detailed caption of this image: a harbour.", None, ("prompt_echo",)),
        ("A sign that says: Visby harbour at dusk, Gotland", "Visby harbour at dusk", ()),
        ("", "a boat", ()),
    ],
)
def test_leaks(caption: str, alt_text: str | None, flags: tuple[str, ...]) -> None:
    assert find_leaks(caption, prompt=PAPER_PROMPT, alt_text=alt_text) == flags


def test_only_a_caption_that_knew_the_alt_text_can_have_copied_it() -> None:
    several = config(more_prompts={"known": "@conditioned"})
    copied = "a red boat in the old harbour of Visby"
    asked, without = prompts_for(several, row(copied)), prompts_without_condition(several)
    assert leaks_in(several, row(copied), asked, [copied, copied]) == ((), ("alt_text_copied",))
    assert leaks_in(several, row(copied), without, [copied, copied]) == ((), ())
    told = "Use its names where the image bears them out"
    assert leaks_in(several, row(copied), asked, [told, told]) == ((), ("prompt_echo",))
