"""Mixed captions in pipelines and shards that are not ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagetext.batches import BatchMaker
from imagetext.mix import CaptionMix, CaptionMixConfig
from imagetext.mixed_samples import MixCaptions, write_mixed_shards
from imagetext.shards import ShardRow, list_shards, read_shard, write_shard
from imagetext.sidecars import write_sidecar
from imagetext.stream import DataConfig, SampleStream
from runtime.errors import UserError
from tests.imagetext.pictures import encoded, picture
from tests.imagetext.words import WordTokenizer, crop

ROOT = Path(__file__).parents[2]
NUM_SHARDS, PER_SHARD = 3, 8
MIX = CaptionMixConfig(original_share=0.5)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    for shard in range(NUM_SHARDS):
        keys = [f"{shard:05d}{row:04d}" for row in range(PER_SHARD)]
        rows = [
            ShardRow(key=key, image=encoded(picture(0)), caption=f"alt {key}", metadata={"url": key}) for key in keys
        ]
        write_shard(folder / "shards", shard, rows)
        write_sidecar(folder / "recaption", f"{shard:05d}", [{"key": key, "re_caption": f"new {key}"} for key in keys])
    return folder


def data_of(web: Path) -> DataConfig:
    return DataConfig(shards=web / "shards", sidecars={"recaption": web / "recaption"})


def expected(web: Path, epoch: int, seed: int = 0) -> dict[str, str]:
    mix, chosen = CaptionMix(MIX, seed), {}
    for shard in list_shards(web / "shards"):
        for sample in read_shard(shard, "shards"):
            captions = {**sample.captions, "recaption": f"new {sample.key}"}
            chosen[sample.key] = mix.choose(captions, sample.qualified_key, epoch, 0).text
    return chosen


def test_shards_hold_what_the_loader_serves(web: Path, tmp_path: Path) -> None:
    assert write_mixed_shards(data_of(web), MIX, tmp_path / "mixed", seed=4, epoch=1) == NUM_SHARDS * PER_SHARD
    written = {
        sample.key: sample for shard in list_shards(tmp_path / "mixed") for sample in read_shard(shard, "shards")
    }
    assert {key: sample.captions["original"] for key, sample in written.items()} == expected(web, epoch=1, seed=4)
    assert {sample.metadata["caption_source"] for sample in written.values()} == {"original", "recaption"}
    assert all(sample.url == key for key, sample in written.items())
    stream = SampleStream(data_of(web), 4)
    maker = BatchMaker(stream, CaptionMix(MIX, 4), crop, WordTokenizer(), 4)
    batch, _ = maker.make(range(stream.num_samples, 2 * stream.num_samples))
    served = {key.partition("/")[2]: text for key, text in zip(batch.keys, batch.texts, strict=True)}
    assert served == {key: sample.captions["original"] for key, sample in written.items()}


def test_finished_shards_are_left_alone(web: Path, tmp_path: Path) -> None:
    write_mixed_shards(data_of(web), MIX, tmp_path, seed=0, epoch=0)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "00001_stats.json").unlink()
    (tmp_path / "00001.tar").unlink()
    times = (tmp_path / "00000.tar").stat().st_mtime_ns
    write_mixed_shards(data_of(web), MIX, tmp_path, seed=0, epoch=0)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert (tmp_path / "00000.tar").stat().st_mtime_ns == times


def read_lines(*command: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t") for line in done.stdout.splitlines())


def test_a_plain_webdataset_pipeline_reads_the_same_captions(web: Path) -> None:
    urls = str(web / "shards" / "{00000..00002}.tar")
    found = read_lines(str(ROOT / "examples" / "webdataset_mixed.py"), urls, str(web / "recaption"), "0.5")
    assert found == expected(web, epoch=0)


def test_epochs_are_counted_or_given(web: Path) -> None:
    samples = [
        {"__url__": "d/shards/00000.tar", "__key__": f"00000{row:04d}", "txt": f"alt 00000{row:04d}".encode()}
        for row in range(PER_SHARD)
    ]
    counted = MixCaptions({"recaption": web / "recaption"}, MIX)
    resumed = MixCaptions({"recaption": web / "recaption"}, MIX, first_epoch=2)
    told = MixCaptions({"recaption": web / "recaption"}, MIX, epoch=lambda: 2)
    epochs = [[sample["txt"].decode() for sample in counted(iter(samples))] for _ in range(3)]
    for epoch, texts in enumerate(epochs):
        wanted = expected(web, epoch)
        assert texts == [wanted[sample["__key__"]] for sample in samples]
    assert [sample["txt"].decode() for sample in resumed(iter(samples))] == epochs[2]
    assert [[sample["txt"].decode() for sample in told(iter(samples))] for _ in range(2)] == [epochs[2]] * 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_open_clips_trainer_runs_an_epoch(web: Path, tmp_path: Path) -> None:
    """Its own command line on our example; with its smallest ViT and tiny images. It tokenizes the captions chosen."""
    arguments = [
        str(ROOT / "examples" / "open_clip_mixed.py"), str(web / "recaption"), "0.5",
        "--train-data", str(web / "shards" / "{00000..00002}.tar"), "--dataset-type", "webdataset",
        "--train-num-samples", "24", "--model", "ViT-S-32-alt", "--force-image-size", "32", "--batch-size", "8",
        "--epochs", "1", "--workers", "0", "--warmup", "1", "--precision", "fp32", "--logs", str(tmp_path),
        "--name", "run", "--save-frequency", "1",
    ]  # fmt: skip
    listening = (
        "import json, runpy, sys; from open_clip.tokenizer import SimpleTokenizer as T; read, seen = T.__call__, []\n"
        "T.__call__ = lambda self, text, *more: (seen.append(text), read(self, text, *more))[1]\n"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); print(json.dumps(seen))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", listening, *arguments], capture_output=True, text=True, env=environment, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoints" / "epoch_1.pt").is_file()
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == sorted(expected(web, epoch=0).values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda web: MixCaptions({}, MIX), "caption source recaption does not exist"),
        (
            lambda web: MixCaptions({"recaption": web}, CaptionMixConfig(share_changes={8: 0.5})),
            r"share_changes: a pipeline knows no positions: found \{8: 0.5\}",
        ),
        (
            lambda web: write_mixed_shards(data_of(web), MIX, web / "shards", seed=0, epoch=0),
            "output_dir: would overwrite its own input",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(web: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        make(web)
