"""Every measurement runs, tiny, and compares like with like."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import __main__ as command
from benchmarks import (
    attention,
    clip_step,
    conversation_index,
    llava_mix,
    llava_orders,
    loading,
    loop,
    packing,
    packing_mix,
    page,
    recaption,
    text_tower,
)
from benchmarks.race import Contender, race, table
from benchmarks.transformer import Transformer, random_tokens
from imagetext.conversations import read_conversations
from imagetext.tokenizers import open_clip_tokenizer
from runtime.config import parse


def rates(measured: str) -> dict[str, float]:
    """Read the median rate of each way from a measurement's tables."""
    rows = re.findall(r"^\| ([^|]+?) +\| +([\d.]+) ", measured, re.MULTILINE)
    return {name: float(rate) for name, rate in rows}


def test_ways_take_turns_and_ratios_are_taken_repeat_by_repeat() -> None:
    order: list[str] = []
    seconds = {"slow": iter([9.0, 2.0, 4.0]), "fast": iter([9.0, 1.0, 1.0])}

    def contender(name: str) -> Contender:
        return Contender(name=name, seconds=lambda: order.append(name) or next(seconds[name]), num_items=10)

    results = race([contender("slow"), contender("fast")], repeats=2)
    assert order == ["slow", "fast", "slow", "fast", "fast", "slow"]
    assert [result.rates for result in results] == [(5.0, 2.5), (10.0, 10.0)]
    last = table(results, unit="items").splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == ["fast", "10.0 (10.0 to 10.0)", "3.00 (2.00 to 4.00)"]


def test_loading_compares_three_ways_over_the_same_samples(tmp_path: Path) -> None:
    size = loading.SIZES["tiny"]
    ways = rates(loading.measure(size, repeats=1))
    assert set(ways) == {"webdataset", "MixedLoader, first epoch", "MixedLoader, later epochs"}
    assert min(ways.values()) > 0
    loading._write_shards(tmp_path, size)
    images, ids = zip(*loading._plain_pipeline(tmp_path, size))
    ours = [batch for _, (batch,) in zip(images, loading._open(tmp_path, _tokenizer(), size).updates(0))]
    assert sum(map(len, images)) == sum(map(len, ours)) == size.num_samples
    assert images[0][0].shape == ours[0].images[0].shape
    their_rows = sorted(row.tolist() for batch in ids for row in batch)
    assert their_rows == sorted(row.tolist() for batch in ours for row in batch.token_ids)


def _tokenizer() -> object:
    return open_clip_tokenizer(loading._TOKENIZER, loading._CONTEXT_TOKENS)


def test_attention_compares_both_in_both_precisions() -> None:
    ways = rates(attention.measure(attention.SIZES["tiny"], repeats=1))
    assert set(ways) == {"sdpa fp32", "eager fp32", "sdpa bf16", "eager bf16"}


def test_both_attentions_are_the_same_function() -> None:
    inputs, outputs = random_tokens(2, 5, 16), []
    for kind in ("eager", "sdpa"):
        torch.manual_seed(0)
        outputs.append(Transformer(width=16, num_layers=2, num_heads=2, attention=kind)(inputs))
    torch.testing.assert_close(*outputs)


def test_loop_compares_an_update_with_one_by_hand() -> None:
    measured = loop.measure(loop.SIZES["tiny"], repeats=1)
    assert set(rates(measured)) == {"by hand", "runtime.loop.fit"}
    assert len(re.findall(r"Overhead of an update: -?[\d.]+ ms", measured)) == 2


def test_the_loop_by_hand_ends_in_the_weights_of_fit() -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(nn.Linear(4, 4))
        return built[-1]

    setting = loop._Setting(build=build, inputs=torch.randn(3, 4), num_updates=20)
    assert loop._seconds_by_hand(setting) > 0 and loop._seconds_of_fit(setting) > 0
    torch.manual_seed(0)
    assert not torch.equal(nn.Linear(4, 4).weight, built[0].weight), "training moved it"
    torch.testing.assert_close(built[0].weight, built[1].weight)


def test_recaption_compares_ways_that_say_the_same() -> None:
    measured = recaption.measure(recaption.SIZES["tiny"], repeats=1)
    names = [
        "generate, single images",
        "generate, batches of 32",
        "recaption, batches of 32",
        "recaption, batches of 64",
    ]
    assert list(rates(measured)) == names
    assert "Equal texts from `generate` and from ours: 4 of 4." in measured


def test_single_images_stand_for_all_lengths() -> None:
    lengths = [70, 10, 50, 30, 80, 20, 60, 40]
    assert [lengths[index] for index in recaption._spread_over(lengths, 2)] == [30, 70]


def test_text_tower_compares_open_clip_s_way_with_ours() -> None:
    assert set(rates(text_tower.measure(text_tower.SIZES["tiny"], repeats=1))) == {"open_clip", "cut", "pooled"}


def test_packing_computes_less_for_the_same_conversations() -> None:
    measured = packing.measure(packing.SIZES["tiny"], repeats=1)
    orders = ("random order", "LLaVA's order", "like letters", "like lengths")
    ways = [f"{order}, {rows}" for order in orders for rows in ("a row each", "packed")]
    tables = [re.findall(r"^\| ([^|]+?) +\|", part, re.MULTILINE) for part in measured.split("\n\n")]
    assert [names[-8:] for names in tables].count(ways) == 2
    assert [names[-4:] for names in tables].count([*ways[:2], *ways[-2:]]) == 2
    works = packing_mix.works(llava_mix.draw_mix(4096))
    for order in orders:
        assert works[f"{order}, packed"].teraflops < works[f"{order}, a row each"].teraflops
    apart = [works[f"{order}, a row each"].padding_share for order in orders]
    assert apart == sorted(apart, reverse=True), "each order pads less than the one before"


def test_llava_s_order_is_that_of_its_trainer() -> None:
    """Whole batches hold pictures or text alone; each microbatch has one of the batch's longest, and as much text."""
    mix = llava_mix.draw_mix(2048)
    order = llava_orders.llava_order(mix, 128, 16)
    assert sorted(order.tolist()) == list(range(2048))
    num_whole = mix.has_image.sum() // 128 + (~mix.has_image).sum() // 128
    for batch in order[: num_whole * 128].reshape(-1, 128):
        assert len(set(mix.has_image[batch].tolist())) == 1
        longest = np.sort(mix.num_characters[batch])[-8:]
        microbatches = mix.num_characters[batch.reshape(8, 16)]
        assert sorted(microbatches[:, 0]) == longest.tolist(), "the eight longest are dealt first"
        assert (microbatches.max(axis=1) == microbatches[:, 0]).all()


def test_lengths_of_the_mix_follow_what_is_published() -> None:
    mix = llava_mix.draw_mix(4096)
    lengths = mix.lengths
    assert lengths.tolist() == llava_mix.draw_mix(4096).lengths.tolist()
    assert sum(source.thousands for source in llava_mix.SOURCES) == 664, "the table's rows, rounded, of 665"
    assert lengths.min() > 0 and lengths.max() == llava_mix.MAX_LENGTH_TOKENS
    mean_with_image = 578 + sum(
        source.thousands * source.pairs * (10 + source.pair_tokens) for source in llava_mix.SOURCES if source.has_image
    ) / sum(source.thousands for source in llava_mix.SOURCES if source.has_image)
    # Only texts alone may be shorter than an image; they are a sixteenth.
    assert lengths[lengths > 578].mean() == pytest.approx(mean_with_image, rel=0.1)
    assert mix.has_image.mean() == pytest.approx(15 / 16, abs=0.02) and lengths[mix.has_image].min() > 578
    whole = lengths < llava_mix.MAX_LENGTH_TOKENS
    text_tokens = lengths[whole] - 578 * mix.has_image[whole]
    # With the template's tokens, ten a pair, there are fewer letters a token.
    assert 2 < mix.num_characters[whole].sum() / text_tokens.sum() < 4.4


def test_work_of_one_conversation_by_hand() -> None:
    work = packing_mix.work(np.array([1000]), packed=False)
    # 2 * 6.98e9 * 1000 for the weights; attention: two products of 1000 x 1000 x 4096, halved, in 32 blocks.
    assert work.teraflops == pytest.approx((2 * 6.979321856e9 * 1000 + 32 * 2 * 4096 * 1000**2) / 1e12)
    assert work.padding_share == 0


def test_conversation_index_opens_the_file_that_it_writes(tmp_path: Path) -> None:
    measured = conversation_index.measure(conversation_index.SIZES["tiny"], repeats=2)
    numbers = {
        name: (int(records), float(seconds), float(peak))
        for name, records, seconds, peak in re.findall(
            r"^\| ([^|]+?) +\| +(\d+) +\| +([\d.]+) [^|]*\| +[\d.]+ [^|]*\|[^|]*\| +(\d+) +\|$", measured, re.MULTILINE
        )
    }
    assert list(numbers) == list(conversation_index._NAMES.values())
    assert [records for records, _, _ in numbers.values()] == [0, 100, 400, 400, 20]
    assert min(peak for _, _, peak in numbers.values()) > 10
    conversation_index.write_file(tmp_path / "a.json", 50, 5)
    records = read_conversations(tmp_path / "a.json")
    assert sum(record.image is None for record in records) == 5
    mean_bytes = (tmp_path / "a.json").stat().st_size / 50
    assert 1200 < mean_bytes < 2000, "as large as the published records"


def test_a_page_says_where_its_numbers_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 0.0, 0.0))
    start = page.Start(load=0.5, commit="0123456789abcdef+changes")
    text = page.compose("loop", "About.", "Measured.", start=start, command="python -m benchmarks --name loop")
    assert text.startswith("# loop\n\nAbout.\n\nMeasured.\n")
    for wanted in (
        "Command: `python -m benchmarks --name loop`",
        "Date: 20",
        "Commit: 0123456789ab+changes",
        " cores",
        f"torch {torch.__version__.split('+')[0]}",
    ):
        assert wanted in text
    assert "average 0.5 before, 3.0 after, of which one thread is the measurement's: shared with other work" in text


def test_the_command_writes_a_page_under_the_measurement_s_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--name",
        "attention",
        "--size",
        "tiny",
        "--repeats",
        "1",
        "--output",
        str(tmp_path / "new" / "NAME.md"),
    ]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    command.main()
    written = (tmp_path / "new" / "attention.md").read_text()
    assert written.startswith("# attention\n") and written in capsys.readouterr().out


def test_all_measurements_do_not_go_to_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(command.BenchmarkConfig, ["--output", "all.md"], prog="benchmarks", description="")
    assert left.value.code == 2
    wanted = (
        "output: all would go to one file: found all.md, wanted a file name with NAME in it. Or measure one, by --name"
    )
    assert wanted in capsys.readouterr().err


def test_clip_steps_compute_one_loss() -> None:
    size = clip_step.SIZES["tiny"]
    assert set(rates(clip_step.measure(size, repeats=1))) == {"open_clip", "padded", "masked"}
    batch, config = clip_step._batch(size), clip_step._config(size, "")
    theirs, ours = clip_step._their_model(config), clip_step._training(config, size)
    ours.engine.model.load_state_dict(theirs.state_dict())
    wanted = clip_step._plain_step(theirs, batch)()
    clip_step._own_step(ours, batch)()
    # The same model in bfloat16, its products in another order.
    assert ours.window.close()["loss"] == pytest.approx(wanted.item(), rel=2e-2)
