"""Latents on disk: encoded once, resumable, refused where they are of another kind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dit_train.autoencoder import Autoencoder, draw_latents
from dit_train.encode_config import EncodeConfig
from dit_train.encoding import encode_shards
from dit_train.latent_contract import contract_of
from dit_train.latent_pictures import LatentPictures
from dit_train.latent_shards import MIRRORED, MOMENTS, LatentShard, as_bfloat16, latents_path, mark_path
from dit_train.task import to_unit_range
from imagetext.decode import DecodeError, decode
from imagetext.samples import Sample
from imagetext.shards import ShardRow, list_shards, make_key, read_shard, write_shard
from imagetext.transforms import resize_center_crop
from runtime.errors import UserError

SIZE_PX = 16


@pytest.fixture(scope="session")
def pictures_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two shards of noise in several shapes, one image of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(2):
        rows = []
        for row in range(5):
            path = folder / "one.png"
            Image.fromarray(generator.integers(0, 256, (20, 17 + 6 * row, 3), dtype=np.uint8)).save(path)
            data = b"no picture" if (index, row) == (1, 2) else path.read_bytes()
            rows.append(ShardRow(key=make_key(index, row), image=data, extension="png", caption="noise"))
        write_shard(folder, index, rows)
    (folder / "one.png").unlink()
    return folder


@pytest.fixture(scope="session")
def encode_config(pictures_folder: Path, vae_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EncodeConfig:
    config = EncodeConfig(
        shards=pictures_folder,
        vae=vae_folder,
        output_dir=tmp_path_factory.mktemp("latents") / "all",
        image_size_px=SIZE_PX,
        mirrored=True,
        batch_size=2,
        device="cpu",
    )
    assert encode_shards(config) == 2
    return config


def opened(config: EncodeConfig, name: str = "00000") -> LatentShard:
    return LatentShard(config.output_dir, name, contract_of(Autoencoder(config.vae, CPU), config.vae, SIZE_PX))


def pictures(config: EncodeConfig, *, flip: bool = True) -> LatentPictures:
    contract = contract_of(Autoencoder(config.vae, CPU), config.vae, SIZE_PX)
    return LatentPictures(config.output_dir, contract, shards=config.shards, flip=flip)


CPU = torch.device("cpu")


def test_moments_are_those_of_the_autoencoder_rounded_to_bfloat16(encode_config: EncodeConfig) -> None:
    autoencoder, shard = Autoencoder(encode_config.vae, CPU), opened(encode_config)
    samples = list(read_shard(list_shards(encode_config.shards)[0], "web"))
    assert shard.keys == [sample.key for sample in samples]
    for row, sample in enumerate(samples):
        pixels = torch.from_numpy(resize_center_crop(decode(sample.image), SIZE_PX))[None]
        for name, images in ((MOMENTS, pixels), (MIRRORED, pixels.flip(3))):
            wanted = autoencoder.encode(to_unit_range(images))[0]
            found = as_bfloat16(shard.row(row, name)).float()
            # bfloat16 keeps eight bits; batches of another size round their sums otherwise.
            torch.testing.assert_close(found, wanted, rtol=2**-8, atol=1e-5)
            assert found.shape == (8, 8, 8)


def test_a_draw_from_the_posterior_is_diffusers_own(encode_config: EncodeConfig) -> None:
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    moments = 3 * torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn = DiagonalGaussianDistribution(moments).sample(torch.Generator().manual_seed(1))
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(draw_latents(moments, noise, scaling_factor=0.18215, shift_factor=0.0), drawn * 0.18215)
    shifted = draw_latents(moments, noise, scaling_factor=2.0, shift_factor=0.5)
    torch.testing.assert_close(shifted, (drawn - 0.5) * 2)


def test_a_broken_image_is_a_row_with_its_reason(encode_config: EncodeConfig) -> None:
    mark = json.loads(mark_path(encode_config.output_dir, "00001").read_text())
    assert (mark["count"], mark["successes"], mark["status_dict"]) == (5, 4, {"not_an_image": 1, "success": 4})
    shard = opened(encode_config, "00001")
    assert not shard.row(2, MOMENTS).any()
    sample = Sample(key=shard.keys[2], dataset="web", shard="00001", image=b"", captions={})
    with pytest.raises(DecodeError, match="not_an_image"):
        pictures(encode_config).read(sample, 2, np.random.default_rng(0))


def test_mirror_images_are_drawn_as_often_as_images(encode_config: EncodeConfig) -> None:
    shard, store = opened(encode_config), pictures(encode_config)
    sample = Sample(key=shard.keys[1], dataset="web", shard="00000", image=b"", captions={})
    generator = np.random.default_rng(0)
    drawn = [store.read(sample, 1, generator) for _ in range(400)]
    mirrored = sum(np.array_equal(one, shard.row(1, MIRRORED)) for one in drawn)
    assert mirrored + sum(np.array_equal(one, shard.row(1, MOMENTS)) for one in drawn) == 400
    assert mirrored == pytest.approx(200, abs=40)  # four standard deviations
    plain = pictures(encode_config, flip=False)
    assert all(np.array_equal(plain.read(sample, 1, generator), shard.row(1, MOMENTS)) for _ in range(20))


def test_a_stopped_job_ends_with_the_same_bytes(encode_config: EncodeConfig, tmp_path: Path) -> None:
    stopped = replace(encode_config, output_dir=tmp_path / "stopped", num_workers=2)
    shutil.copytree(encode_config.output_dir, stopped.output_dir)
    mark_path(stopped.output_dir, "00001").unlink()  # died before its mark
    latents_path(stopped.output_dir, "00001").write_bytes(b"half")
    assert encode_shards(stopped) == 1
    assert encode_shards(stopped) == 0
    for file in encode_config.output_dir.glob("*.*"):
        assert (stopped.output_dir / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_out_the_shards(
    encode_config: EncodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    output_dir = tmp_path / "mine"
    assert encode_shards(replace(encode_config, output_dir=output_dir)) == 1
    assert [path.stem for path in output_dir.glob("*.safetensors")] == [f"0000{rank}"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size_px": 32}, "latents of another kind: image_size_px.*found 16, wanted 32"),
        ({"mirrored": False}, "latents of another kind: mirrored"),
        ({"precision": "bf16"}, "latents of another kind: precision.*found fp32, wanted bf16"),
        ({"image_size_px": 15}, "no whole latent.*found 15, wanted a multiple of 2"),
    ],
)
def test_a_folder_begun_otherwise_is_refused(
    encode_config: EncodeConfig, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        encode_shards(replace(encode_config, **change))  # type: ignore[arg-type]


def test_latents_of_another_autoencoder_are_refused(encode_config: EncodeConfig, tmp_path: Path) -> None:
    shutil.copytree(encode_config.vae, tmp_path / "vae")
    config_file = tmp_path / "vae" / "config.json"
    config_file.write_text(config_file.read_text().replace('"scaling_factor": 0.5', '"scaling_factor": 0.25'))
    with pytest.raises(UserError, match="latents of another kind: vae_sha256"):
        pictures(replace(encode_config, vae=tmp_path / "vae"))


def copied(config: EncodeConfig, folder: Path) -> EncodeConfig:
    shutil.copytree(config.output_dir, folder)
    return replace(config, output_dir=folder)


def test_missing_unfinished_and_damaged_latents_are_refused(encode_config: EncodeConfig, tmp_path: Path) -> None:
    config = copied(encode_config, tmp_path / "latents")
    mark_path(config.output_dir, "00001").unlink()
    with pytest.raises(UserError, match=r"latents of shard 00001 are missing or unfinished.*1 of 2 shards"):
        pictures(config)
    with pytest.raises(UserError, match="latents of shard 00000 are missing"):
        pictures(replace(config, output_dir=tmp_path / "nowhere"))
    path = latents_path(config.output_dir, "00000")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="latents are damaged"):
        opened(config)


def test_numbers_that_are_not_the_headers_are_refused(encode_config: EncodeConfig, tmp_path: Path) -> None:
    config = copied(encode_config, tmp_path / "latents")
    path = latents_path(config.output_dir, "00000")
    data = bytearray(path.read_bytes())
    data[-4000:] = bytes(4000)  # zeros within the numbers
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="latents are not what their header says: mean"):
        pictures(config)


def test_rows_of_other_images_are_refused(encode_config: EncodeConfig) -> None:
    store = pictures(encode_config)
    other = Sample(key="000000009", dataset="web", shard="00000", image=b"", captions={})
    with pytest.raises(UserError, match="latents of other images: found 000000001, wanted 000000009"):
        store.read(other, 1, np.random.default_rng(0))
    with pytest.raises(UserError, match="latents of other images: found 5 rows"):
        store.read(other, 7, np.random.default_rng(0))


def test_mirroring_needs_mirrored_latents(encode_config: EncodeConfig, tmp_path: Path) -> None:
    plain = replace(encode_config, output_dir=tmp_path / "plain", mirrored=False)
    encode_shards(plain)
    assert pictures(plain, flip=False).blank().shape == (8, 8, 8)
    with pytest.raises(UserError, match=r"no mirrored latents.*--mirrored true"):
        pictures(plain, flip=True)
