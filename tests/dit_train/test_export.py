import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import T5Config, T5EncoderModel

from dit_train.autoencoder import Autoencoder
from dit_train.export import export_pipeline
from dit_train.objective_config import NoiseConfig, ObjectiveConfig
from dit_train.objectives import build_objective
from dit_train.sampler import SamplingConfig, load_sampler
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from runtime.errors import UserError
from runtime.seeds import derive
from tests.dit_train.conftest import SHIFT, flow_scheduler, small_transformer, stir

PROMPTS = ["a cat", "two dogs by a house"]
SETTINGS = SamplingConfig(guidance=2.5, num_steps=4)
STRANGER = """
import sys, torch
from diffusers import DiffusionPipeline
from transformers import T5Config, T5EncoderModel
folder, out = sys.argv[1:3]
pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
seeds = [int(seed) for seed in sys.argv[3:]]
images = pipe(
    ["a cat", "two dogs by a house"], guidance_scale=2.5, num_inference_steps=4, output_type="pt",
    generator=[torch.Generator().manual_seed(seed) for seed in seeds],
).images
torch.save((images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8), out)
assert not any(name.split(".")[0] in ("dit_train", "runtime", "imagetext") for name in sys.modules)
"""


def test_the_folder_has_the_parts_of_a_diffusers_pipeline(export_folder: Path) -> None:
    index = json.loads((export_folder / "model_index.json").read_text())
    assert index["transformer"] == ["text_dit", "TextDiT"]
    assert (export_folder / "transformer" / "text_dit.py").is_file()
    assert (export_folder / "transformer" / "diffusion_pytorch_model.safetensors").is_file()
    assert json.loads((export_folder / "scheduler" / "scheduler_config.json").read_text())["shift"] == SHIFT
    assert json.loads((export_folder / "training.json").read_text()) == {"original_share": 0.1}


def test_a_python_without_our_packages_draws_the_same_pixels(export_folder: Path, tmp_path: Path) -> None:
    ids = ["one", "two"]
    ours = load_sampler(export_folder, device="cpu").generate(PROMPTS, ids, SETTINGS, seed=5)
    (tmp_path / "stranger.py").write_text(STRANGER)
    seeds = [str(derive(5, "sample", each)) for each in ids]
    command = [sys.executable, "-I", "stranger.py", str(export_folder), "images.pt", *seeds]
    # No PYTHONPATH and a home of its own: neither our packages nor an earlier copy of the code can be found.
    environment = {"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert torch.equal(torch.load(tmp_path / "images.pt"), ours)


def test_a_folder_that_reads_embeddings_draws_alike_in_both_ways(text_encoder_folder: Path, tmp_path: Path) -> None:
    encoder = FrozenTextEncoder(text_encoder_folder, torch.device("cpu"), embeddings_alone=True)
    model = small_transformer(text_embeddings=True)
    stir(model)
    export_pipeline(tmp_path / "export", model, encoder, scheduler=flow_scheduler(SHIFT), facts={})
    sampler = load_sampler(tmp_path / "export", device="cpu")
    table = encoder.model.get_input_embeddings().weight
    tokens = encoder.tokenizer(PROMPTS[0]).input_ids
    assert torch.equal(sampler.text_encoder.encode_texts(PROMPTS[:1]).hidden[0], table[tokens])
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "export", trust_remote_code=True)
    theirs = pipe.read_prompts(PROMPTS)
    ours = sampler._read(PROMPTS, SETTINGS)
    assert torch.equal(theirs.keys[1], ours.keys[1])
    assert torch.equal(theirs.summary, ours.summary)


@pytest.mark.parametrize("learned_sigma", [False, True])
def test_latents_on_the_ddpm_path_are_drawn_alike_in_both_ways(
    text_encoder: FrozenTextEncoder, vae_folder: Path, tmp_path: Path, learned_sigma: bool
) -> None:
    objective = build_objective(
        ObjectiveConfig(path="ddpm", prediction="epsilon", learned_sigma=learned_sigma), NoiseConfig()
    )
    changes = {"in_channels": 4, "out_channels": 4 * objective.outputs_per_channel, "predicts_image": False}
    model = small_transformer(sample_size=8, patch_size=4, **changes)
    stir(model)
    autoencoder = Autoencoder(vae_folder, torch.device("cpu"))
    folder = tmp_path / "export"
    export_pipeline(folder, model, text_encoder, scheduler=objective.scheduler(), facts={}, autoencoder=autoencoder)
    sampler = load_sampler(folder, device="cpu")
    assert (sampler.image_size_px, sampler.default_solver) == (16, "ddpm")
    ours = sampler.generate(PROMPTS, ["one", "two"], SETTINGS, seed=5)
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(derive(5, "sample", each)) for each in ("one", "two")]
    theirs = pipe(PROMPTS, guidance_scale=2.5, num_inference_steps=4, generator=generators, output_type="pt").images
    assert ours.shape == (2, 16, 16, 3)
    assert torch.equal((theirs.permute(0, 2, 3, 1) * 255).round().to(torch.uint8), ours)


def test_a_t5_reads_prompts_alike_in_training_and_in_both_ways_of_drawing(
    text_encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(text_encoder_folder, folder, ignore=lambda _, names: [n for n in names if n.startswith("model")])
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=60, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2)).save_pretrained(
        folder
    )
    encoder = FrozenTextEncoder(folder, torch.device("cpu"))
    assert (encoder.context_length, encoder.width) == (24, 32)
    alone, beside = encoder.encode_texts(PROMPTS[:1]), encoder.encode_texts(PROMPTS)
    assert beside.hidden.shape[1] > alone.hidden.shape[1]
    torch.testing.assert_close(beside.hidden[:1, : alone.hidden.shape[1]], alone.hidden)  # padding is not looked at
    model = small_transformer()
    stir(model)
    export_pipeline(tmp_path / "export", model, encoder, scheduler=flow_scheduler(SHIFT), facts={})
    sampler = load_sampler(tmp_path / "export", device="cpu")
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "export", trust_remote_code=True)
    # diffusers loads it to attend by other kernels.
    close = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(pipe.read_prompts(PROMPTS).keys[1], sampler._read(PROMPTS, SETTINGS).keys[1], **close)


def test_the_pipeline_draws_pictures_and_arrays(export_folder: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(export_folder, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    first = pipe("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert first.size == (16, 16)
    array = pipe(
        ["a cat"], num_inference_steps=2, guidance_scale=1, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    assert array.shape == (1, 16, 16, 3)
    with pytest.raises(ValueError, match="1 generators for 2 prompts"):
        pipe(["a", "b"], generator=[torch.Generator()])


def test_weights_survive_the_round_trip(text_encoder: FrozenTextEncoder, tmp_path: Path) -> None:
    model = small_transformer()
    export_pipeline(tmp_path / "export", model, text_encoder, scheduler=flow_scheduler(1.0), facts={})
    loaded = TextDiT.from_pretrained(tmp_path / "export" / "transformer")
    assert dict(loaded.config)["predicts_image"] is True
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_folder_without_a_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model here.*config\.json"):
        FrozenTextEncoder(tmp_path, torch.device("cpu"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="a model of another type: found bert"):
        FrozenTextEncoder(tmp_path, torch.device("cpu"))
