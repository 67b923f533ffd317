import shutil
from pathlib import Path

import pytest
import torch

from dit_train.flow import level_schedule
from dit_train.sampler import Sampler, SamplingConfig, load_sampler, to_pixels
from runtime.errors import UserError
from runtime.seeds import torch_generator
from tests.dit_train.conftest import SHIFT

PROMPTS = ["a cat", "two dogs by a house", "tree"]
IDS = ["one", "two", "three"]


def generators(seed: int) -> list[torch.Generator]:
    return [torch_generator(seed, "sample", each) for each in IDS]


@pytest.fixture(scope="module")
def sampler(export_folder: Path) -> Sampler:
    return load_sampler(export_folder, device="cpu")


def test_images_are_bytes_of_the_right_shape(sampler: Sampler) -> None:
    images = sampler.generate(PROMPTS, IDS, SamplingConfig(num_steps=2), seed=0)
    assert images.shape == (3, 16, 16, 3)
    assert images.dtype == torch.uint8
    assert sampler.scheduler.shift == SHIFT


def test_an_image_depends_on_its_seed_id_and_prompt_alone(sampler: Sampler) -> None:
    config = SamplingConfig(num_steps=3)
    images = sampler.generate(PROMPTS, IDS, config, seed=0)
    assert torch.equal(sampler.generate(PROMPTS, IDS, config, seed=0), images)
    alone = sampler.generate(PROMPTS[1:2], IDS[1:2], config, seed=0)
    # One byte of slack: matrix products round differently for other batch shapes.
    assert (alone[0].int() - images[1].int()).abs().max() <= 1
    for other in (
        sampler.generate(PROMPTS, IDS, config, seed=1),
        sampler.generate(PROMPTS, ["1", "2", "3"], config, seed=0),
        sampler.generate(PROMPTS[::-1], IDS, config, seed=0),
    ):
        assert (other[0].int() - images[0].int()).abs().max() > 5


def test_batches_join_to_the_whole(sampler: Sampler) -> None:
    whole = sampler.generate(PROMPTS, IDS, SamplingConfig(num_steps=2), seed=0)
    parts = list(sampler.batches(PROMPTS, IDS, SamplingConfig(num_steps=2, batch_size=2), seed=0))
    assert [len(part) for part in parts] == [2, 1]
    assert (torch.cat(parts).int() - whole.int()).abs().max() <= 1


def test_guidance_one_is_the_conditional_model(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = sampler.draw_noise(generators(0))
    asked: list[str] = []
    read = sampler._read
    monkeypatch.setattr(sampler, "_nothing", {})
    monkeypatch.setattr(sampler, "_read", lambda prompts, config: asked.extend(prompts) or read(prompts, config))
    images = sampler.denoise(noise, PROMPTS, SamplingConfig(guidance=1.0, num_steps=2))
    assert asked == PROMPTS  # the empty prompt is not even read
    nearly = sampler.denoise(noise, PROMPTS, SamplingConfig(guidance=1.0 + 1e-6, num_steps=2))
    torch.testing.assert_close(nearly, images, rtol=1e-3, atol=1e-3)


def test_guidance_zero_forgets_the_prompt(sampler: Sampler) -> None:
    noise = sampler.draw_noise(generators(0))
    config = SamplingConfig(guidance=0.0, num_steps=2)
    first, second = (sampler.denoise(noise, prompts, config) for prompts in (PROMPTS, ["x", "y", "z"]))
    torch.testing.assert_close(first, second)


def test_reading_the_prompt_at_every_step_gives_the_same_images(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise, config = sampler.draw_noise(generators(0)), SamplingConfig(num_steps=3)
    cached = sampler.denoise(noise, PROMPTS, config)
    conditions = {}

    def keep_texts(prompts, config):
        condition = sampler.text_encoder.encode_texts(prompts)
        memory = sampler.transformer.read_text(condition.hidden, condition.mask)
        conditions[id(memory)] = (memory, condition)
        return memory

    def read_again(z, timestep, text):
        _, condition = conditions[id(text)]
        repeat = len(z) // len(condition.hidden)
        parts = (part.repeat_interleave(repeat, 0) for part in (condition.hidden, condition.mask))
        return sampler.transformer(z, timestep, *parts, return_dict=False)[0]

    monkeypatch.setattr(sampler, "_read", keep_texts)
    monkeypatch.setattr(sampler, "_predict", read_again)
    monkeypatch.setattr(sampler, "_nothing", {})
    torch.testing.assert_close(sampler.denoise(noise, PROMPTS, config), cached, rtol=1e-4, atol=1e-4)


def test_bf16_draws_nearly_the_same(sampler: Sampler) -> None:
    full, half = (
        sampler.generate(PROMPTS, IDS, SamplingConfig(num_steps=2, precision=precision), seed=0)
        for precision in ("fp32", "bf16")
    )
    assert (full.int() - half.int()).abs().float().mean() < 4


def test_pixels_are_rounded_and_clipped() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("num_steps", 0, "1 or more"),
        ("guidance", -1.0, "0 or more"),
        ("batch_size", 0, "1"),
        ("guidance_levels", (0.5, 0.5), "two rising levels"),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: object, wanted: str) -> None:
    with pytest.raises(UserError, match=f"{field}.*{wanted}"):
        SamplingConfig(**{field: value})


def test_prompts_without_ids_are_refused(sampler: Sampler) -> None:
    with pytest.raises(UserError, match="3 prompts, 2 ids"):
        sampler.generate(PROMPTS, IDS[:2], SamplingConfig(), seed=0)


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no exported pipeline here.*model_index\.json"):
        load_sampler(tmp_path)


def test_guidance_acts_between_its_levels_alone(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    predict, calls = sampler._predict, []

    def counted(z, timestep, text):
        calls.append((round(float(timestep[0])), len(text.mask)))
        return predict(z, timestep, text)

    monkeypatch.setattr(sampler, "_predict", counted)
    sampler.denoise(sampler.draw_noise(generators(0)), PROMPTS, SamplingConfig(num_steps=4, guidance_levels=(0.7, 0.9)))
    levels = (1000 * level_schedule(4, SHIFT)[:-1]).round().int().tolist()
    assert levels == [1000, 857, 667, 400]
    assert calls == [(1000, 3), (857, 3), (857, 1), (667, 3), (400, 3)]


def test_the_empty_prompt_is_read_once_for_all_batches(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = sampler._read
    monkeypatch.setattr(sampler, "_nothing", {})
    monkeypatch.setattr(sampler, "_read", lambda prompts, config: asked.extend(prompts) or read(prompts, config))
    sampler.generate(PROMPTS, IDS, SamplingConfig(num_steps=1, batch_size=1), seed=0)
    assert sorted(asked) == sorted([*PROMPTS, ""])


def test_a_solver_of_another_path_is_refused(sampler: Sampler) -> None:
    with pytest.raises(UserError, match="solver: found ddim, wanted one of euler, heun"):
        sampler.generate(PROMPTS, IDS, SamplingConfig(solver="ddim"), seed=0)


def test_a_schedule_of_another_kind_is_refused(export_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(export_folder, tmp_path / "export")
    path = tmp_path / "export" / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("FlowMatchEulerDiscreteScheduler", "PNDMScheduler"))
    with pytest.raises(UserError, match=r"a schedule of another kind.*PNDMScheduler.*DDPMScheduler"):
        load_sampler(tmp_path / "export", device="cpu")
