import json
import subprocess
import sys
from pathlib import Path

import pytest

from imagetext.shards import list_shards, read_shard
from imagetext.sidecars import read_sidecar
from miniweb.build import MANIFEST, build
from miniweb.config import CountsConfig, MiniwebConfig, WebConfig
from miniweb.scene import Scene
from miniweb.units import Unit, build_unit
from runtime.config import load, to_yaml
from runtime.errors import UserError
from tests.miniweb.tiny import digests, tiny_config
from tests.processes import kill_and_see_its_children_end, wait_until


def test_every_promised_file_is_there(tiny_web: MiniwebConfig) -> None:
    folder = tiny_web.output_dir
    for shards in (
        "web",
        "foundation",
        "captioner_heldout",
        "development",
        "web_heldout",
        "judges/train",
        "judges/test",
    ):
        assert list_shards(folder / shards)
    assert [shard.num_samples for shard in list_shards(folder / "web")] == [20, 10]
    assert list_shards(folder / "prompts" / "images")[0].num_samples == 6
    for name in ("align", "instruct", "detail", "detail_all_species", "conditioned", "knowledge", "text"):
        assert (folder / "captioner" / f"{name}.json").exists()
    for name in ("raw", "recombined", "longer"):
        assert (folder / "prompts" / f"{name}.jsonl").exists()
    assert json.loads((folder / MANIFEST).read_text())["num_scenes"]["web"] == 30


def test_web_samples_carry_what_datacomp_s_do_and_the_truth(tiny_web: MiniwebConfig) -> None:
    samples = list(read_shard(list_shards(tiny_web.output_dir / "web")[0], "web"))
    assert len({sample.uid for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.uid and len(sample.uid) == 32 and int(sample.uid, 16) >= 0
        assert sample.url == f"https://images.example/{sample.uid[:2]}/{sample.uid}.jpg"
        assert sample.sha256 and len(sample.sha256) == 64
        assert Scene.from_json(sample.metadata["scene"])  # type: ignore[arg-type]
        assert 80 <= max(sample.metadata["width"], sample.metadata["height"]) <= 128  # type: ignore[call-overload]
        assert sample.metadata["alt_type"]


def test_sidecars_join_the_web_s_shards(tiny_web: MiniwebConfig) -> None:
    for shard in list_shards(tiny_web.output_dir / "web"):
        samples = {sample.key: sample for sample in read_shard(shard, "web")}
        for name in ("web_oracle", "web_clean", "web_paraphrase"):
            rows = read_sidecar(tiny_web.output_dir / name, shard.name)
            assert rows.keys() == samples.keys()
            assert all(row.caption and row.sha256 == samples[key].sha256 for key, row in rows.items())


def test_webdataset_reads_the_shards(tiny_web: MiniwebConfig) -> None:
    import webdataset

    samples = list(
        webdataset.WebDataset(str(tiny_web.output_dir / "web" / "00000.tar"), shardshuffle=False).decode("pil")
    )
    assert len(samples) == 20
    assert samples[0]["jpg"].size == (samples[0]["json"]["width"], samples[0]["json"]["height"])
    assert isinstance(samples[0]["txt"], str)


def test_a_finished_build_is_left_alone(tiny_web: MiniwebConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_web.output_dir.rglob("*")}
    manifest = build(tiny_web)
    assert manifest == json.loads((tiny_web.output_dir / MANIFEST).read_text())
    assert before == {path: path.stat().st_mtime_ns for path in tiny_web.output_dir.rglob("*")}


def test_same_seed_same_bytes_in_two_processes(tiny_web: MiniwebConfig, tmp_path: Path) -> None:
    build(tiny_config(tmp_path / "again", processes=2))
    assert digests(tmp_path / "again") == digests(tiny_web.output_dir)


def test_another_seed_is_another_web_that_shares_no_training_scene_with_this_one_s_tests(
    tiny_web: MiniwebConfig, tmp_path: Path
) -> None:
    tests = {
        signature
        for path in (tiny_web.output_dir / ".units").glob("benchmark_*.json")
        for signature in json.loads(path.read_text())["signatures"]
    }
    for unit in (Unit("web", 0, 20), Unit("foundation", 0, 6)):
        mark = build_unit(tiny_config(tmp_path, seed=1), unit)
        assert not tests & set(mark["signatures"])  # type: ignore[call-overload]
    assert digests(tmp_path / "web").keys() <= digests(tiny_web.output_dir / "web").keys()
    assert (tmp_path / "web" / "00000.tar").read_bytes() != (tiny_web.output_dir / "web" / "00000.tar").read_bytes()


def test_the_manifest_records_that_splits_are_disjoint(tiny_web: MiniwebConfig) -> None:
    disjoint = json.loads((tiny_web.output_dir / MANIFEST).read_text())["disjoint"]
    assert set(disjoint["distinct_scenes"]) == {"captioner", "development", "foundation", "judges", "test", "web"}
    assert len(disjoint["shared_scenes"]) == 15 and set(disjoint["shared_scenes"].values()) == {0}


def test_an_interrupted_build_continues_to_the_same_bytes(tiny_web: MiniwebConfig, tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    config_file = tmp_path / "config.yaml"
    config_file.write_text(to_yaml(config))
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "miniweb", "--config", str(config_file), "--output_dir", str(folder)]
    command += ["--processes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(folder.glob(".units/benchmark_k*.json")), "the first pieces")
    # Two workers; the third is Python's resource tracker.
    kill_and_see_its_children_end(process, num_children_min=3)
    assert not (folder / MANIFEST).exists(), "killed in the middle"
    (folder / "web").mkdir(exist_ok=True)
    (folder / "web" / "00000.tar.partial-1").write_bytes(b"left over")
    build(load(MiniwebConfig, config_file, overrides=[f"--output_dir={folder}"]))
    assert digests(folder) == digests(tiny_web.output_dir)


def test_a_folder_of_another_config_is_refused_by_the_field_s_name(tiny_web: MiniwebConfig) -> None:
    other = tiny_config(tiny_web.output_dir, seed=3)
    with pytest.raises(UserError, match="folder holds a web of another seed: found 0, wanted 3"):
        build(other)


def test_unfiltered_web_has_more_noise_than_filtered(tiny_web: MiniwebConfig) -> None:
    from miniweb.web import filter_candidates, list_candidates

    filtered = MiniwebConfig(output_dir=Path("unused"), web=WebConfig(filter_keep_share=0.6, filter_noise=0.2))
    candidates = list_candidates(filtered, 0, 120)
    assert len(candidates) == 200
    kept = filter_candidates(filtered, candidates, 120)
    assert len(kept) == 120 and [c for c in candidates if c in kept] == kept
    noisy = ("wrong", "spam", "filename", "empty", "foreign")
    noise = [sum(c.alt.type in noisy for c in group) / len(group) for group in (candidates, kept)]
    assert noise[1] < noise[0]
    unfiltered = MiniwebConfig(output_dir=Path("unused"), web=WebConfig(filtered=False))
    everything = list_candidates(unfiltered, 0, 50)
    assert filter_candidates(unfiltered, everything, 50) == everything


@pytest.mark.parametrize("preset", ["quick", "mini", "mini_full"])
def test_presets_load(preset: str) -> None:
    config = load(MiniwebConfig, Path("configs/miniweb") / f"{preset}.yaml", overrides=["--output_dir=x"])
    assert config.counts.species % 79 == 0 or preset != "quick"


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"counts.swap: count: found 7, wanted an even number"):
        CountsConfig(swap=7)
    with pytest.raises(UserError, match=r"counts.web: count: found 0, wanted >= 1"):
        CountsConfig(web=0)
