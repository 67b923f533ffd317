"""Every measurement runs, tiny, and compares like with like."""

import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from benchmarks import __main__ as command
from benchmarks import (
    attention,
    caption_flags,
    clip_step,
    clip_step_gpu,
    clip_suite,
    clip_ways,
    conversation_index,
    dit_step,
    dit_ways,
    large_captioner,
    llava_mix,
    llava_orders,
    loading,
    loop,
    mid_captioner,
    packing,
    packing_mix,
    page,
    picture_likeness,
    recaption,
    recaption_gpu,
    recaption_memory,
    recaption_vllm,
    resume,
    text_tower,
)
from benchmarks.pictures import draw_pairs
from benchmarks.race import Bar, Contender, Result, bars_table, race, table
from benchmarks.transformer import Transformer, random_tokens
from imagetext.conversations import PAPER_PROMPT, read_conversations
from imagetext.tokenizers import TextTokenizer, open_clip_tokenizer
from llava_train.model import load_captioner
from runtime.config import parse
from runtime.hardware import ACCELERATORS


def rates(measured: str) -> dict[str, float]:
    """Read the median rate of each way from a measurement's tables."""
    rows = re.findall(r"^\| ([^|]+?) +\| +([\d.]+) ", measured, re.MULTILINE)
    return {name: float(rate) for name, rate in rows}


def test_ways_take_turns_and_ratios_are_taken_repeat_by_repeat() -> None:
    order: list[str] = []
    seconds = {"slow": iter([9.0, 2.0, 4.0]), "fast": iter([9.0, 1.0, 1.0])}

    def contender(name: str) -> Contender:
        def turn() -> float:
            order.append(name)
            return next(seconds[name])

        return Contender(name=name, seconds=turn, num_items=10)

    results = race([contender("slow"), contender("fast")], repeats=2)
    assert order == ["slow", "fast", "slow", "fast", "fast", "slow"]
    assert [result.rates for result in results] == [(5.0, 2.5), (10.0, 10.0)]
    last = table(results, unit="items").splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == ["fast", "10.0 (10.0 to 10.0)", "3.00 (2.00 to 4.00)"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clip_suite_measures_the_same_numbers_both_ways() -> None:
    """Retrieval and all seven sets of SugarCrepe, by CLIP_benchmark's command line."""
    measured = clip_suite.measure(clip_suite.SIZES["tiny"], repeats=1)
    assert set(rates(measured)) == {"`eval benchmark`", "CLIP_benchmark"}
    difference = re.search(r"by more than ([\de.+-]+)\.", measured)
    assert difference and float(difference[1]) < 5e-5


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


def _tokenizer() -> TextTokenizer:
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
    built: list[nn.Linear] = []

    def build() -> nn.Linear:
        built.append(nn.Linear(4, 4))
        return built[-1]

    setting = loop._Setting(build=build, inputs=torch.randn(3, 4), num_updates=20)
    assert loop._seconds_by_hand(setting) > 0 and loop._seconds_of_fit(setting) > 0
    torch.manual_seed(0)
    assert not torch.equal(nn.Linear(4, 4).weight, built[0].weight), "training moved it"
    torch.testing.assert_close(built[0].weight, built[1].weight)


def test_recaption_compares_ways_that_say_the_same() -> None:
    measured = recaption.measure(recaption.SIZES["tiny"], repeats=1)
    ways = ["generate, single images", "generate, batches of 32", "recaption, deterministic", "recaption, as rows come"]
    untrained, mid = measured.split("\n## ")
    for part, count in ((untrained, 4), (mid, 3)):
        rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in part.splitlines() if "|" in line]
        assert [row[0] for row in rows if len(row) == 3][2:] == ways and f"{count} pictures." in part
        assert all(bar[5] in ("holds", "SHORT") for bar in rows if len(bar) == 6 and bar[2].startswith(">="))
        for way in ways[2:]:
            assert f"Equal texts from `generate, batches of 32` and from {way}: {count} of {count}." in part


def test_recaption_memory_counts_every_row() -> None:
    told = recaption_memory.measure(recaption_memory.SIZES["tiny"], repeats=1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if "|" in line][2:]
    assert [row[0] for row in rows] == ["20", "40", "60"] and all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_recaption_memory_s_captioner_never_says_the_same() -> None:
    said = list(islice(recaption_memory.Promptly()._said, 150_000))
    assert len(set(said)) == len(said)


def test_recaption_vllm_says_that_it_needs_another_environment() -> None:
    told = recaption_vllm.measure(recaption_vllm.SIZES["tiny"], repeats=1)
    assert told == "Not measured: no environment with vLLM here (`make setup-vllm` makes it)."


def test_bars_hold_by_the_median_ratio_of_rates() -> None:
    results = [
        Result(name="ours", rates=(6.0, 4.0, 9.0), core_seconds=(0.1, 0.1, 0.1)),
        Result(name="theirs", rates=(2.0, 2.0, 3.0), core_seconds=(0.2, 0.3, 0.4)),
    ]
    told = bars_table(results, [Bar(faster="ours", slower="theirs", least=least) for least in (3.0, 3.01)])
    first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()[2:])
    assert first == ["ours", "theirs", ">= 3", "3.00 (2.00 to 3.00)", "3.00 (2.00 to 4.00)", "holds"]
    assert second[2:] == [">= 3.01", *first[3:5], "SHORT"]


@pytest.mark.parametrize("shape", [mid_captioner.TINY])
def test_the_captioner_of_middle_size_says_as_many_tokens_as_it_is_told(
    tmp_path: Path, shape: mid_captioner.Shape
) -> None:
    lengths = [9, 1, 14, 6, 9, 11]
    pixels = [mid_captioner.geometry(shape).prepare(pair.image) for pair in draw_pairs(len(lengths), 96, 72)]
    folder = mid_captioner.write_mid_captioner(tmp_path, pixels, lengths, shape)
    captioner = load_captioner(folder, device="cpu", precision=torch.float32)
    said = captioner.answer_pixels(pixels, [PAPER_PROMPT] * 6, max_new_tokens=12, batch_size=4)
    assert [len(answer.token_ids) for answer in said] == [9, 1, 12, 6, 9, 11]
    assert [answer.finish_reason for answer in said] == ["stop", "stop", "length", "stop", "stop", "stop"]
    with pytest.raises(ValueError, match="could not be solved"):
        mid_captioner.write_mid_captioner(tmp_path, [pixels[0], pixels[0]], [3, 4], shape)


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


def test_resume_finds_what_is_done_by_marks_and_scales_what_is_not_measured_whole() -> None:
    size = resume.SIZES["tiny"]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in resume.measure(size, repeats=1).splitlines()
        if line.startswith("| ")
    ]
    done = {row[0]: row[1] for row in rows[1:]}
    assert done["recaption run: to the first shard"] == done["recaption status: every mark read"] == "300"
    assert done["stand-in: ids in a set, as CaptionFlow's"] == "40"
    assert all(bool(row[5]) == row[0].startswith("stand-in") for row in rows[2:])


def test_recaption_gpu_captions_every_picture_on_a_cpu_too() -> None:
    measured = recaption_gpu.measure(recaption_gpu.SIZES["tiny"], repeats=1)
    assert "On CPU, with a tiny captioner, 12 pictures." in measured
    rows = re.findall(r"^\| (\w+) +\| +(\d+) \| +([\d.]+) \|.*\| +([\d.]+) \| +unknown", measured, re.MULTILINE)
    assert [(precision, int(tokens)) for precision, tokens, _, _ in rows] == [("bf16", 3), ("bf16", 5)]
    assert all(float(rate) > 0 for row in rows for rate in row[2:])


def test_idle_share_of_kernels_that_overlap_touch_and_pause() -> None:
    assert recaption_gpu.idle_share([(10, 20), (15, 18), (20, 30), (40, 50)]) == pytest.approx(10 / 40)
    assert recaption_gpu.idle_share([(0, 5)]) == 0
    with pytest.raises(ValueError, match="no kernel ran"):
        recaption_gpu.idle_share([])


def test_the_roofline_is_the_one_worked_out_by_hand() -> None:
    roofline = large_captioner.Roofline.of(large_captioner.published_shape(), prompt_tokens=616, new_tokens=60)
    # 0.39 TFLOP of vision, 8.60 of prompt, 0.90 of caption, 0.1 of attention; 131 kB a token read back 59 times.
    assert roofline.flops / 1e12 == pytest.approx(10.0, rel=0.01)
    assert roofline.cache_bytes == pytest.approx(59 * 646 * 131_072)
    h200 = ACCELERATORS["H200"]
    assert roofline.images_per_second(h200, fp8=False) == pytest.approx(89, rel=0.02)
    assert roofline.images_per_second(h200, fp8=True) == pytest.approx(157, rel=0.01)


def test_caption_flags_are_scored_one_by_one() -> None:
    measured = caption_flags.measure(caption_flags.Size(num_each=3), repeats=1)
    assert len(re.findall(r"^\| \w+ +\| ", measured, re.MULTILINE)) == 13 and "microseconds each" in measured


def test_a_changed_picture_is_found_and_others_are_not() -> None:
    size = picture_likeness.Size(num_pictures=12, num_changed=6, width_px=192, height_px=144)
    scores = {one.near_bits: one for one in picture_likeness.score(size)}
    assert all(one.wrong == 0 and one.num_merged == 0 for one in scores.values())
    assert scores[20].found["quality 60"] == 6 and scores[6].found["quality 60"] <= 6


def test_clip_steps_compute_one_loss() -> None:
    size = clip_step.SIZES["tiny"]
    results = clip_step.measure_steps(size, repeats=1)
    assert [result.name for result in results] == ["open_clip", "padded", "masked"]
    assert all(len(result.rates) == len(result.core_seconds) == 1 for result in results)
    batch = clip_ways.mixed_batch(size.batch_size, size.image_size_px, size.context_length)
    config = clip_step._config(size, "padded")
    theirs = clip_ways.their_model(config)
    ours = clip_ways.own_training(CLIP(**config, output_dict=True), size.batch_size)
    ours.engine.model.load_state_dict(theirs.state_dict())
    wanted = clip_ways.their_step(theirs, batch)()
    clip_ways.own_step(ours, batch)()
    # The same model in bfloat16, its products in another order.
    assert ours.window.close()["loss"] == pytest.approx(wanted.item(), rel=2e-2)


def test_both_transformers_learn_from_equal_batches_and_draw_equal_latents(tmp_path: Path) -> None:
    size = dit_step.SIZES["tiny"]
    results = dit_step.measure_sampling(tmp_path, size, repeats=1)  # raises where they differ
    assert [result.name for result in results] == ["plain", "OpenRecap"]
    pixart = dit_ways.build_pixart(size.training)
    own = dit_ways.build_own(size.training, pixart)
    counts = [sum(weight.numel() for weight in model.parameters()) for model in (pixart, own)]
    assert counts[0] == counts[1]


def test_latents_are_read_in_both_ways(tmp_path: Path) -> None:
    results = dit_step.measure_reading(tmp_path, dit_step.SIZES["tiny"], repeats=1)
    assert [result.name for result in results] == ["per-sample tar", "OpenRecap"]
    assert results[1].rates[0] > results[0].rates[0]


@pytest.mark.slow
def test_a_dit_is_measured(tmp_path: Path) -> None:
    measured = dit_step.measure(dit_step.SIZES["tiny"], repeats=1)
    ways = rates(measured)
    assert all(ways[name] > 0 for name in ("plain, live VAE", "plain, stored latents", "OpenRecap", "per-sample tar"))
    assert [measured.count(f" >= {bar} |") for bar in ("4", "1.2", "1.15", "10")] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_trainers_of_a_clip_run_an_epoch_from_the_same_tars() -> None:
    """Each way counts its samples itself, so that none is told faster by having done less."""
    measured = clip_step.measure(clip_step.SIZES["tiny"], repeats=1)
    ways = rates(measured)
    for name in ("open_clip, padded", "OpenRecap, padded", "open_clip, masked", "OpenRecap, masked", "webdataset"):
        assert ways[name] > 0
    assert measured.count(" >= 1.5 |") == 2 and measured.count(" >= 1 |") == measured.count(" >= 1.2 |") == 1


def test_clip_steps_of_a_gpu_run_tiny_on_a_cpu() -> None:
    measured = clip_step_gpu.measure(clip_step_gpu.SIZES["tiny"], repeats=1)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in measured.splitlines() if line.startswith("| tiny")
    ]
    assert [row[3] for row in rows] == ["open_clip", "OpenRecap"] * 3
    assert [row[2] for row in rows] == ["8", "8", "16", "16", "16, mixed", "16, mixed"]
    assert all(float(row[5]) > 0 and row[6:] == ["–", "–"] for row in rows)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    tried: list[int] = []

    def attempt(batch_size: int) -> str:
        tried.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError
        return "fits"

    assert clip_step_gpu.largest(attempt, 16) == (2, "fits") and tried == [16, 8, 4, 2]
    with pytest.raises(torch.OutOfMemoryError):
        clip_step_gpu.largest(lambda size: attempt(size + 2), 16)
