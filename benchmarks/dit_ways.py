"""A DiT's update and its sampling: this project's, and plain loops around diffusers' `PixArtTransformer2DModel`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PixArtTransformer2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.pixart_weights import translated
from dit_train.ddpm import BETA_END, BETA_START, NUM_TIMESTEPS
from dit_train.latent_contract import LatentContract
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.objectives import build_objective
from dit_train.task import DiffusionTask
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from imagetext.loader import ImageTextBatch
from runtime.loop_config import LoopConfig
from runtime.training import Training

PIXELS_PER_CELL, CHANNELS, TEXT_SLOTS = 8, 4, 77
SCALING = 0.18215
LEARNING_RATE, EMA_DECAY, CAPTION_DROPOUT = 1e-4, 0.9999, 0.1
RECAPTION_SHARE = 0.9
Model = Any
"""A model of diffusers': to type checkers they are stand-ins without methods."""
OBJECTIVE = ObjectiveConfig(path="ddpm", prediction="epsilon")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is computed."""

    width: int
    depth: int
    num_heads: int
    patch_size: int
    image_size_px: int
    text_width: int
    text_layers: int
    vae_widths: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Return the side of a latent."""
        return self.image_size_px // PIXELS_PER_CELL


def write_text_encoder(folder: Path, shape: Shape) -> Path:
    """Write an untrained CLIP text tower with a tokenizer of letters; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TEXT_SLOTS)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.text_width,
            intermediate_size=4 * shape.text_width,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=max(1, shape.text_width // 64),
            max_position_embeddings=TEXT_SLOTS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder)
    return folder


def build_vae(shape: Shape) -> Model:
    """Return an untrained autoencoder of Stable Diffusion's kind."""
    count = len(shape.vae_widths)
    vae: Model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * count,
        up_block_types=("UpDecoderBlock2D",) * count,
        block_out_channels=shape.vae_widths,
        layers_per_block=2,
        latent_channels=CHANNELS,
        norm_num_groups=min(32, shape.vae_widths[0]),
    )
    return vae.requires_grad_(False)


def build_pixart(shape: Shape) -> Model:
    """Return an untrained PixArt transformer without learned variance."""
    torch.manual_seed(1)
    return PixArtTransformer2DModel(
        sample_size=shape.cells,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        patch_size=shape.patch_size,
        num_layers=shape.depth,
        num_attention_heads=shape.num_heads,
        attention_head_dim=shape.width // shape.num_heads,
        cross_attention_dim=shape.width,
        caption_channels=shape.text_width,
    )


def build_own(shape: Shape, pixart: Model) -> TextDiT:
    """Return our transformer with PixArt's weights and positions."""
    model = TextDiT(
        sample_size=shape.cells,
        in_channels=CHANNELS,
        patch_size=shape.patch_size,
        width=shape.width,
        depth=shape.depth,
        num_heads=shape.num_heads,
        text_width=shape.text_width,
        form="adaln_single",
        gelu="tanh",
    )
    state = pixart.state_dict()
    sizes = {"depth": shape.depth, "patch_size": shape.patch_size, "out_channels": CHANNELS}
    model.load_state_dict({name: weight.clone() for name, weight in translated(state, **sizes).items()})
    model.positions = pixart.pos_embed.pos_embed[0].clone()
    return model


def random_batch(shape: Shape, batch_size: int, *, latents: bool) -> ImageTextBatch:
    """Return random pictures or moments; nine captions in ten as long as recaptions, the others as alt-text."""
    generator = torch.Generator().manual_seed(0)
    is_long = torch.arange(batch_size) < round(RECAPTION_SHARE * batch_size)
    drawn = torch.rand(batch_size, generator=generator)
    lengths = torch.where(is_long, 45 + 32 * drawn, 6 + 14 * drawn).long()
    ids = torch.randint(0, 52, (batch_size, TEXT_SLOTS), generator=generator)
    ids[torch.arange(TEXT_SLOTS) >= lengths[:, None]] = 53
    side = shape.image_size_px
    pixels = torch.randint(0, 256, (batch_size, 3, side, side), generator=generator, dtype=torch.uint8)
    moments = torch.randn(batch_size, 2 * CHANNELS, shape.cells, shape.cells, generator=generator).bfloat16()
    return ImageTextBatch(
        keys=tuple(map(str, range(batch_size))),
        positions=tuple(range(batch_size)),
        images=moments if latents else pixels,
        token_ids=ids,
        token_lengths=lengths,
        truncated=torch.zeros(batch_size, dtype=torch.bool),
        sources=("original",) * batch_size,
        texts=("",) * batch_size,
    )


def own_step(shape: Shape, text_folder: Path, model: TextDiT, batch: ImageTextBatch) -> Callable[[], object]:
    """Return an update of this project's engine on stored moments."""
    contract = LatentContract(
        vae_sha256="",
        scaling_factor=SCALING,
        shift_factor=0.0,
        latent_channels=CHANNELS,
        pixels_per_cell=PIXELS_PER_CELL,
        image_size_px=shape.image_size_px,
    )
    task = DiffusionTask(
        FrozenTextEncoder(text_folder, torch.device("cpu")),
        caption_dropout=CAPTION_DROPOUT,
        objective=build_objective(OBJECTIVE, NoiseConfig()),
        draws_per_image=1,
        sources=["original"],
        contract=contract,
    )
    loop = LoopConfig(
        num_updates=10**6,
        batch_size=len(batch),
        learning_rate=LEARNING_RATE,
        schedule="constant",
        max_grad_norm=None,
        precision="bf16",
        ema_decay=EMA_DECAY,
        device="cpu",
        wandb="off",
    )
    training = Training(task, model, loop, 0, {})
    return lambda: training.update(0, [batch])


def plain_step(text_folder: Path, model: Model, batch: ImageTextBatch, vae: Model | None) -> Callable[[], object]:
    """Return an update of the straightforward loop: from pixels by a live autoencoder, or from moments without one."""
    text = CLIPTextModel.from_pretrained(text_folder).requires_grad_(False).eval()
    scheduler, average = _ddim(), EMAModel(model.parameters(), decay=EMA_DECAY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    mask = (torch.arange(TEXT_SLOTS) < batch.token_lengths[:, None]).long()
    empty = torch.full_like(batch.token_ids, 53)

    def latents() -> Tensor:
        if vae is not None:
            return vae.encode(batch.images.float() / 127.5 - 1).latent_dist.sample() * SCALING
        mean, log_variance = batch.images.float().chunk(2, dim=1)
        return (mean + (0.5 * log_variance).exp() * torch.randn_like(mean)) * SCALING

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                x = latents().float()
                drops = torch.rand(len(batch))[:, None] < CAPTION_DROPOUT
                hidden = text(input_ids=torch.where(drops, empty, batch.token_ids)).last_hidden_state
            noise, timestep = torch.randn_like(x), torch.randint(NUM_TIMESTEPS, (len(batch),))
            noisy = scheduler.add_noise(x, noise, timestep)
            found = model(noisy, hidden, timestep=timestep, encoder_attention_mask=mask).sample
            loss = torch.nn.functional.mse_loss(found.float(), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.step(model.parameters())

    return step


def plain_sampling(
    text_folder: Path, model: Model, prompts: Sequence[str], *, num_steps: int, guidance: float
) -> Callable[[Tensor], Tensor]:
    """Return what carries noise to latents as diffusers' PixArt pipeline: guidance's halves in one padded batch."""
    tokenizer = CLIPTokenizer.from_pretrained(text_folder)
    text = CLIPTextModel.from_pretrained(text_folder).eval()

    @torch.no_grad()
    def sample(noise: Tensor) -> Tensor:
        texts = [*[""] * len(prompts), *prompts]
        tokens = tokenizer(texts, padding="max_length", max_length=TEXT_SLOTS, truncation=True, return_tensors="pt")
        hidden = text(input_ids=tokens.input_ids).last_hidden_state
        scheduler, z = _ddim(), noise
        scheduler.set_timesteps(num_steps)
        for timestep in scheduler.timesteps:
            both = torch.cat([z, z])
            times = timestep.expand(len(both))
            found = model(both, hidden, timestep=times, encoder_attention_mask=tokens.attention_mask).sample
            blank, conditional = found.chunk(2)
            z = scheduler.step(blank + guidance * (conditional - blank), timestep, z).prev_sample
        return z

    return sample


def _ddim() -> Any:
    return DDIMScheduler(
        num_train_timesteps=NUM_TIMESTEPS, beta_start=BETA_START, beta_end=BETA_END, beta_schedule="linear",
        clip_sample=False, timestep_spacing="trailing",
    )  # fmt: skip
