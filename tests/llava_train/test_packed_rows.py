"""Conversations that share rows against the same ones alone: loss and gradients, in every attention."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoConfig, AutoModel, LlavaForConditionalGeneration

from imagetext.conversations import IGNORED_LABEL
from llava_train import attention, network, phases, varlen
from llava_train.attention import LEAN, PACKABLE_TYPES, captioner_attention
from llava_train.batch import ConversationBatch, RenderedSample, collate
from llava_train.network import SupervisedCaptioner
from llava_train.pixels import Normaliser, PixelGeometry
from llava_train.recompute import recompute_blocks
from llava_train.task import AnswerTask
from llava_train.varlen import VARLEN, register_varlen
from runtime.errors import UserError
from runtime.metrics import JsonLines
from tests.llava_train import tiny

ROW_TOKENS = 40
GEOMETRY = PixelGeometry(image_size_px=tiny.IMAGE_SIZE_PX, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
# Sums of the same products in another order, in float32.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the variable-length kernel be one written plainly, on any device; return the starts of each of its calls."""
    calls: list[int] = []

    def plain(query: Tensor, key: Tensor, value: Tensor, *bounds: object, **options: object) -> Tensor:
        calls.append(len(query))
        return plain_varlen(query, key, value, *bounds, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(varlen, "varlen_attn", plain)
    monkeypatch.setattr(network, "kernel_serves", lambda config, embeddings: True)
    return calls


def plain_varlen(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, key_starts: Tensor, longest: int, longest_key: int,
    *, scale: float, window_size: tuple[int, int], enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """Attend sample by sample, as torch says of `torch.nn.attention.varlen.varlen_attn`."""
    assert starts.dtype == torch.int32 and key_starts is starts, "cuDNN wants causal lengths to be the same tensor"
    assert int(starts[-1]) == len(query) and longest == longest_key == int(starts.diff().max())
    past, future = window_size
    assert future == 0
    outputs = []
    for first, end in pairwise(starts.tolist()):
        place = torch.arange(end - first)
        distance = place[:, None] - place[None, :]
        seen = (distance >= 0) & ((distance <= past) if past >= 0 else torch.ones_like(distance, dtype=torch.bool))
        parts = (heads[first:end].transpose(0, 1) for heads in (query, key, value))
        outputs.append(scaled_dot_product_attention(*parts, attn_mask=seen, scale=scale, enable_gqa=enable_gqa))
    return torch.cat(outputs, dim=1).transpose(0, 1)


def load(export: Path, name: str) -> SupervisedCaptioner:
    captioner_attention(torch.device("cpu"))
    register_varlen()
    llava = LlavaForConditionalGeneration.from_pretrained(export, attn_implementation=name)
    assert llava.model.language_model.config._attn_implementation == name
    return SupervisedCaptioner(llava, Normaliser(GEOMETRY)).train()


def conversations(image_token: int, lengths: list[int]) -> list[RenderedSample]:
    """Return random conversations, every third without an image."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index, length in enumerate(lengths):
        ids = torch.randint(5, 200, (length,), generator=generator).tolist()
        image = None
        if index % 3 != 2:
            ids[1 : 1 + tiny.NUM_IMAGE_TOKENS] = [image_token] * tiny.NUM_IMAGE_TOKENS
            size = (3, tiny.IMAGE_SIZE_PX, tiny.IMAGE_SIZE_PX)
            image = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8).numpy()
        labels = [IGNORED_LABEL] * (length // 2) + ids[length // 2 :]
        samples.append(RenderedSample(key=str(index), input_ids=ids, labels=labels, image=image))
    return samples


def both_ways(captioner: SupervisedCaptioner) -> tuple[ConversationBatch, ConversationBatch]:
    samples = conversations(captioner.llava.config.image_token_id, [12, 31, 9, 20, 17, 8, 25])
    alone, packed = collate(samples, pad_id=0), collate(samples, pad_id=0, max_row_tokens=ROW_TOKENS)
    assert len(packed.input_ids) < len(alone.input_ids)
    return alone, packed


def loss_and_gradients(captioner: SupervisedCaptioner, batch: ConversationBatch) -> dict[str, Tensor]:
    captioner.zero_grad()
    sums = AnswerTask().loss(captioner, batch, 0, torch.Generator())
    sums.total.backward()
    gradients = {name: weight.grad for name, weight in captioner.named_parameters() if weight.grad is not None}
    assert {name.split(".")[2] for name in gradients} >= {"language_model", "multi_modal_projector", "vision_tower"}
    return {"loss": sums.total.detach(), **sums.metrics, **gradients}


@pytest.mark.parametrize("name", [LEAN, "eager", "sdpa", VARLEN])
def test_packed_loss_and_gradients_equal_those_of_a_row_each(export: Path, name: str) -> None:
    captioner = load(export, name)
    alone, packed = both_ways(captioner)
    assert AnswerTask().count(alone) == AnswerTask().count(packed)
    torch.testing.assert_close(loss_and_gradients(captioner, packed), loss_and_gradients(captioner, alone), **TOLERANCE)


@pytest.mark.parametrize("recomputed", [False, True], ids=["kept", "recomputed"])
def test_the_kernel_gets_the_samples_of_all_rows_end_to_end(
    export: Path, kernel_calls: list[int], recomputed: bool
) -> None:
    captioner = load(export, VARLEN)
    recompute_blocks(captioner.llava, recomputed)
    alone, packed = both_ways(captioner)
    wanted = loss_and_gradients(captioner, alone)
    assert not kernel_calls, "a row each needs no such kernel"
    torch.testing.assert_close(loss_and_gradients(captioner, packed), wanted, **TOLERANCE)
    num_blocks = len(captioner.llava.model.language_model.layers)
    assert kernel_calls == [packed.input_ids.numel()] * num_blocks * (2 if recomputed else 1)


def test_without_the_boundaries_the_loss_would_be_another(export: Path) -> None:
    captioner = load(export, LEAN)
    _, packed = both_ways(captioner)
    blurred = dataclasses.replace(packed, position_ids=None, sequence_starts=None, longest_sequence_tokens=None)
    right, wrong = (AnswerTask().loss(captioner, batch, 0, torch.Generator()).total for batch in (packed, blurred))
    assert (right - wrong).abs() > 100 * 1e-5 * right


@pytest.mark.parametrize("grouped", [False, True], ids=["as many key heads", "fewer key heads"])
@pytest.mark.parametrize("name", [LEAN, "sdpa", VARLEN])
@pytest.mark.parametrize("model_type", PACKABLE_TYPES)
def test_samples_of_packable_models_do_not_see_each_other(
    model_type: str, name: str, grouped: bool, kernel_calls: list[int]
) -> None:
    captioner_attention(torch.device("cpu"))
    register_varlen()
    shape = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2 if grouped else 4, "head_dim": 8, "initializer_range": 0.3, "pad_token_id": 0,
    }  # fmt: skip
    windows = {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}
    known = AutoConfig.for_model(model_type)
    config = AutoConfig.for_model(model_type, **shape, **{k: v for k, v in windows.items() if hasattr(known, k)})
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation=name).eval()
    first, second = torch.randn(1, 9, 32), torch.randn(1, 11, 32)
    row = torch.cat([first, second], dim=1)
    positions = torch.cat([torch.arange(9), torch.arange(11)])[None]
    more = varlen.kernel_arguments(torch.tensor([0, 9, 20], dtype=torch.int32), 11) if name == VARLEN else {}
    packed = model(inputs_embeds=row, position_ids=positions, use_cache=False, **more).last_hidden_state
    alone = [model(inputs_embeds=sample, use_cache=False).last_hidden_state for sample in (first, second)]
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)
    assert bool(kernel_calls) == (name == VARLEN)


def test_other_language_models_are_refused_before_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "fit", lambda **_: pytest.fail("trained"))
    monkeypatch.setattr(attention, "PACKABLE_TYPES", ("mistral",))
    config = tiny.config(root, tmp_path / "run")
    align = dataclasses.replace(config.align, packing=True)
    message = "packing: packing was never tried with this language model: found llama, wanted mistral"
    with pytest.raises(UserError, match=message):
        phases.fine_tune(dataclasses.replace(config, align=align))


def test_a_packed_phase_trains_as_the_same_phase_unpacked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_rows: dict[bool, list[int]] = {False: [], True: []}
    original = phases.collate

    def spied(samples: list[RenderedSample], pad_id: int, *, max_row_tokens: int | None = None) -> ConversationBatch:
        batch = original(samples, pad_id, max_row_tokens=max_row_tokens)
        num_rows[batch.position_ids is not None].append(len(batch.input_ids))
        return batch

    monkeypatch.setattr(phases, "collate", spied)
    losses = []
    for packing in (False, True):
        config = tiny.config(root, tmp_path / f"packing-{packing}", num_updates=2)
        # A batch is the whole data set, long conversations and short ones.
        loop = dataclasses.replace(config.instruct.loop, batch_size=24)
        instruct = dataclasses.replace(
            config.instruct, conversations=["instruct.json", "text.json"], loop=loop, packing=packing
        )
        phases.fine_tune(dataclasses.replace(config, phases=["instruct"], instruct=instruct))
        lines = JsonLines(config.output_dir / "phases" / "instruct" / "metrics.jsonl").rows()
        losses.append([line["loss"] for line in lines])
    assert num_rows[False] == [24, 24] and max(num_rows[True]) < 24
    # The second update starts from weights that Adam moved by gradients equal to rounding.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_of_a_gpu_agrees_with_masked_attention() -> None:
    torch.manual_seed(0)
    register_varlen()
    shape = {
        "vocab_size": 50, "hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128,
    }  # fmt: skip
    model = AutoModel.from_config(AutoConfig.for_model("llama", **shape), dtype=torch.bfloat16).cuda()
    row = torch.randn(2, 300, 512, device="cuda", dtype=torch.bfloat16)
    positions = torch.cat([torch.arange(123), torch.arange(177)])[None].expand(2, -1).cuda()
    starts = torch.tensor([0, 123, 300, 423, 600], dtype=torch.int32, device="cuda")
    outputs, gradients = [], []
    for name, more in (("sdpa", {}), (VARLEN, varlen.kernel_arguments(starts, 177))):
        model.set_attn_implementation(name)
        inputs = row.clone().requires_grad_()
        assert varlen.kernel_serves(model.config, inputs)
        outputs.append(model(inputs_embeds=inputs, position_ids=positions, use_cache=False, **more).last_hidden_state)
        gradients.append(torch.autograd.grad(outputs[-1].float().square().sum(), inputs)[0])
    # bfloat16 keeps eight bits; two kernels round in different places.
    torch.testing.assert_close(outputs[1], outputs[0], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=5e-2, atol=5e-2 * float(gradients[0].abs().max()))
