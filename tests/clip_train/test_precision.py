"""What attention is computed in, on a CPU in bfloat16."""

from pathlib import Path

import pytest
import torch

from clip_train.config import FinetuneConfig
from clip_train.contrastive import attention_kernels
from clip_train.train import build_task
from runtime.loop_config import LoopConfig
from tests.clip_train.test_model_files import build, small
from tests.clip_train.test_train import config_of, web

__all__ = ["web"]
CPU = torch.device("cpu")


def test_attention_in_bfloat16_is_near_that_in_float32(tmp_path: Path) -> None:
    model = build(small("Recap-CLIP-B-16", tmp_path))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model.encode_image(images)
        found = []
        for in_float32 in (True, False):
            with attention_kernels(CPU, in_float32=in_float32), torch.autocast("cpu", torch.bfloat16):
                found.append(model.encode_image(images).float())
    assert not torch.equal(*found)
    # bfloat16 keeps 8 bits, in all products of both.
    for features in found:
        torch.testing.assert_close(features, exact, rtol=0, atol=2e-2 * float(exact.abs().max()))


def test_the_switch_is_put_back() -> None:
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with pytest.raises(KeyError), attention_kernels(CPU, in_float32=before):
        raise KeyError
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == before


def test_the_miniature_keeps_float32_and_the_papers_models_do_not(web: Path, tmp_path: Path) -> None:
    paper = config_of(web, tmp_path, model=str(small("Recap-CLIP-B-16", tmp_path)))
    tasks = [build_task(config) for config in (config_of(web, tmp_path), paper)]
    assert [task._float32_attention for task in tasks] == [True, False]


def test_each_stage_says_how_small_its_jpegs_are_decoded(web: Path, tmp_path: Path) -> None:
    loop = LoopConfig(num_updates=1, batch_size=6, learning_rate=1e-3)
    finetune = FinetuneConfig(image_size_px=64, loop=loop)
    config = config_of(web, tmp_path, finetune=finetune)
    first, second = config.stages()
    assert first.data.decode_min_side_px is None and second.data == first.data
    config = config_of(web, tmp_path, finetune=FinetuneConfig(image_size_px=64, loop=loop, decode_min_side_px=96))
    assert [stage.data.decode_min_side_px for stage in config.stages()] == [None, 96]
