"""Training and sampling a DiT on CPU beside plain loops around diffusers; reading latents beside per-sample tars."""

import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import webdataset
from torch import Tensor

from benchmarks import dit_ways
from benchmarks.dit_ways import Shape
from benchmarks.race import Bar, Contender, Result, bars_table, race, table, timed
from dit_train.latent_contract import LatentContract
from dit_train.latent_pictures import LatentPictures
from dit_train.latent_shards import ENCODED, write_latents
from dit_train.objective_config import NoiseConfig
from dit_train.objectives import build_objective
from dit_train.sampler import Sampler, SamplingConfig
from dit_train.text_encoder import FrozenTextEncoder
from imagetext.samples import Sample
from imagetext.shards import ShardRow, make_key, write_shard

ABOUT = """\
A transformer of DiT-S's geometry with text, random weights and data, one thread. "plain" is the straightforward loop:
diffusers' `PixArtTransformer2DModel` of equal size, its text encoder on all 77 slots, `EMAModel`, AdamW; "plain, live
VAE" encodes its pictures in every step with an autoencoder of Stable Diffusion's kind, "plain, stored latents" draws
from stored moments as ours does. "OpenRecap" is `dit_train`'s engine on stored moments. All in bf16 autocast, nine
captions in ten as long as recaptions.

*Sampling*: the same weights, noise and prompts, DDIM with guidance in float32; "plain" as diffusers' PixArt pipeline
draws, both halves of the guidance in one padded batch; ours reads each prompt's keys and values once. Pictures are
compared: their latents differ by no more than 1e-4 of their spread.

*Reading latents*: moments of 32 x 32 cells in batches; "per-sample tar" is webdataset's plain pipeline over a tar of
one .npy a sample, ours `LatentPictures` in shuffled order. The files lie in the page cache.

A bar holds by the seconds of a core that an item takes, which other work on the machine disturbs least."""

LIVE, STORED, OURS, PLAIN, TARS = "plain, live VAE", "plain, stored latents", "OpenRecap", "plain", "per-sample tar"
STEP_BARS = (Bar(faster=OURS, slower=LIVE, least=4.0), Bar(faster=OURS, slower=STORED, least=1.2))
SAMPLING_BARS = (Bar(faster=OURS, slower=PLAIN, least=1.15),)
READING_BARS = (Bar(faster=OURS, slower=TARS, least=10.0),)
LARGEST_DIFFERENCE = 1e-4
GUIDANCE = 3.0
PROMPTS = ("a red house beside a tall tree", "two dogs", "a boat on a lake at dusk with birds", "an old blue car")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is computed."""

    training: Shape
    sampling: Shape
    batch_size: int
    num_steps: int
    num_samples: int
    read_batch: int


def _shape(image_size_px: int, *, tiny: bool = False) -> Shape:
    return Shape(
        width=64 if tiny else 384,
        depth=2 if tiny else 12,
        num_heads=2 if tiny else 6,
        patch_size=4,
        image_size_px=image_size_px,
        text_width=64 if tiny else 512,
        text_layers=1 if tiny else 12,
        vae_widths=(16, 16, 32, 32) if tiny else (128, 256, 512, 512),
    )


SIZES = {
    "full": Size(
        training=_shape(128), sampling=_shape(256), batch_size=8, num_steps=10, num_samples=1024, read_batch=64
    ),
    "tiny": Size(
        training=_shape(32, tiny=True), sampling=_shape(32, tiny=True), batch_size=2, num_steps=2, num_samples=16,
        read_batch=4,
    ),
}  # fmt: skip


def measure(size: Size, repeats: int) -> str:
    """Return the tables of all three comparisons."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        parts = [
            ("A training step", measure_steps(folder, size, repeats), STEP_BARS, "samples"),
            ("Sampling", measure_sampling(folder, size, repeats), SAMPLING_BARS, "images"),
            ("Reading latents", measure_reading(folder, size, repeats), READING_BARS, "samples"),
        ]
    shape = size.training
    facts = (
        f"{shape.width} wide, {shape.depth} layers, patch {shape.patch_size}; training at {shape.image_size_px} px in "
        f"batches of {size.batch_size}, sampling {len(PROMPTS)} images at {size.sampling.image_size_px} px in "
        f"{size.num_steps} steps."
    )
    sections = [
        f"## {title}\n\n{table(results, unit=unit)}\n{bars_table(results, bars, by_core=True)}"
        for title, results, bars, unit in parts
    ]
    return "\n".join([f"{facts}\n", *sections])


def measure_steps(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race one update."""
    shape = size.training
    text = dit_ways.write_text_encoder(folder / "text", shape)
    pixels, moments = (dit_ways.random_batch(shape, size.batch_size, latents=latents) for latents in (False, True))
    model = dit_ways.build_own(shape, dit_ways.build_pixart(shape))
    model.attention_implementation = "eager"
    steps = {
        LIVE: dit_ways.plain_step(text, dit_ways.build_pixart(shape), pixels, dit_ways.build_vae(shape)),
        STORED: dit_ways.plain_step(text, dit_ways.build_pixart(shape), moments, None),
        OURS: dit_ways.own_step(shape, text, model, moments),
    }
    return _race(steps, size.batch_size, repeats)


def measure_sampling(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race the drawing of a few images, whose latents are first found to be equal."""
    shape = size.sampling
    text = dit_ways.write_text_encoder(folder / "sampling_text", shape)
    pixart = dit_ways.build_pixart(shape).eval()
    scheduler = build_objective(dit_ways.OBJECTIVE, NoiseConfig()).scheduler()
    encoder = FrozenTextEncoder(text, torch.device("cpu"))
    sampler = Sampler(dit_ways.build_own(shape, pixart), encoder, scheduler=scheduler)
    noise = torch.randn(len(PROMPTS), dit_ways.CHANNELS, shape.cells, shape.cells)
    how = SamplingConfig(guidance=GUIDANCE, num_steps=size.num_steps, solver="ddim")

    sample = dit_ways.plain_sampling(text, pixart, PROMPTS, num_steps=size.num_steps, guidance=GUIDANCE)

    def plain() -> Tensor:
        return sample(noise)

    def ours() -> Tensor:
        return sampler.denoise(noise, PROMPTS, how)

    drawn = plain()
    difference = float((drawn - ours()).abs().max() / drawn.std())
    if difference > LARGEST_DIFFERENCE:
        raise RuntimeError(f"both ways draw the same images: they differ by {difference:g}")
    return _race({PLAIN: plain, OURS: ours}, len(PROMPTS), repeats)


def measure_reading(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race the reading of every sample's moments, in batches."""
    contract = LatentContract(
        vae_sha256="", scaling_factor=1.0, shift_factor=0.0, latent_channels=4, pixels_per_cell=8, image_size_px=256
    )
    keys = [make_key(0, row) for row in range(size.num_samples)]
    moments = torch.randn(size.num_samples, 8, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    write_shard(folder / "shards", 0, [ShardRow(key=key, image=b"none", caption="") for key in keys])
    statuses = [ENCODED] * len(keys)
    write_latents(
        folder / "latents", "00000", contract=contract, keys=keys, statuses=statuses, moments=moments, mirrored=None,
        facts={},
    )  # fmt: skip
    _write_tar(folder / "samples.tar", keys, moments)
    store = LatentPictures(folder / "latents", contract, shards=folder / "shards", flip=False)
    samples = [Sample(key=key, dataset="web", shard="00000", image=b"", captions={}) for key in keys]
    order, generator = np.random.default_rng(0).permutation(len(keys)), np.random.default_rng(0)

    def ours() -> None:
        for start in range(0, len(order), size.read_batch):
            rows = order[start : start + size.read_batch].tolist()
            store.stacked(np.stack([store.read(samples[row], row, generator) for row in rows]))

    def tars() -> None:
        dataset = webdataset.WebDataset(str(folder / "samples.tar"), shardshuffle=False).decode().to_tuple("npy")
        for (batch,) in dataset.batched(size.read_batch):
            torch.as_tensor(np.asarray(batch))

    return _race({TARS: tars, OURS: ours}, len(keys), repeats)


def _write_tar(path: Path, keys: Sequence[str], moments: Tensor) -> None:
    with tarfile.open(path, "w") as tar:
        for key, row in zip(keys, moments, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, row.half().numpy())
            info = tarfile.TarInfo(f"{key}.npy")
            info.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(info, buffer)


def _race(ways: dict[str, Callable[[], object]], num_items: int, repeats: int) -> list[Result]:
    def contender(name: str, way: Callable[[], object]) -> Contender:
        return Contender(name=name, seconds=lambda: timed(way), num_items=num_items)

    return race([contender(name, way) for name, way in ways.items()], repeats=repeats)
