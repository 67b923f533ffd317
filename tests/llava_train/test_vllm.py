"""A published captioner in vLLM: it loads there, is asked the same, and says what it says in transformers."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from imagetext.conversations import PAPER_PROMPT
from llava_train.config import LanguageModelConfig
from llava_train.model import load_captioner
from llava_train.phases import fine_tune
from tests.llava_train import tiny

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
PROGRAM = Path(__file__).parent / "vllm_program.py"
COLOURS = {
    "red": (220, 30, 30), "green": (30, 190, 40), "blue": (30, 40, 220), "white": (245, 245, 245),
    "black": (15, 15, 15), "yellow": (240, 220, 40),
}  # fmt: skip
NUM_HELD_OUT = 64
MAX_NEW_TOKENS = 24
TIE = 1e-3
"""Two logits closer than this may change places: both engines sum float32 products, each in its own order."""


@pytest.fixture(scope="module")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of two-coloured pictures with heads of 32, the smallest that vLLM runs on a CPU."""
    root = tmp_path_factory.mktemp("two_colours")
    tiny.write_clip(root / "clip")
    write_two_coloured(root / "data")
    config = tiny.config(root, root / "run", num_updates=250, checkpoint_every_updates=250)
    phase = dataclasses.replace(
        config.detail, short_first=None, loop=dataclasses.replace(config.detail.loop, learning_rate=3e-3)
    )
    model = LanguageModelConfig(
        width=64, num_layers=2, head_width=32, mlp_width=96, vocab_size=400, max_length_tokens=512
    )
    return fine_tune(dataclasses.replace(config, language_model=model, phases=["detail"], detail=phase))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of pairs of colours that training never shows together, of all shapes up to 4:1, with some noise."""
    folder = tmp_path_factory.mktemp("held_out")
    pairs = [pair for pair in all_pairs() if not is_trained(*pair)]
    for index in range(NUM_HELD_OUT):
        generator = np.random.default_rng(index)
        height, width = (int(side) for side in generator.integers(16, 65, size=2))
        picture = two_coloured(*pairs[index % len(pairs)], height, width).astype(np.int16)
        noisy = np.clip(picture + generator.integers(-25, 26, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def vllm_answers(captioner_folder: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    assert PYTHON.exists(), "no .venv-vllm: run `make setup-vllm`"
    output = tmp_path_factory.mktemp("vllm") / "answers.json"
    words = [captioner_folder, held_out, PAPER_PROMPT, MAX_NEW_TOKENS, output]
    environment = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "PATH": os.environ["PATH"],
        "HOME": str(output.parent),
    }
    done = subprocess.run(
        [str(PYTHON), str(PROGRAM), *map(str, words)], env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def transformers_answers(captioner_folder: Path, held_out: Path) -> list[list[int]]:
    """What transformers' own generate answers, given the published processor's tokens and pixels."""
    llava = LlavaForConditionalGeneration.from_pretrained(captioner_folder).eval()
    processor = AutoProcessor.from_pretrained(captioner_folder)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PAPER_PROMPT}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    answers = []
    for path in sorted(held_out.iterdir()):
        image = Image.open(path).convert("RGB")
        inputs = processor(images=image, text=text, add_special_tokens=False, return_tensors="pt")
        out = llava.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS)
        answers.append(out[0, inputs["input_ids"].shape[1] :].tolist())
    return answers


def all_pairs() -> list[tuple[str, str]]:
    return [(left, right) for left in COLOURS for right in COLOURS]


def is_trained(left: str, right: str) -> bool:
    names = list(COLOURS)
    return (names.index(left) + 2 * names.index(right)) % 3 != 0


def two_coloured(left: str, right: str, height: int, width: int) -> np.ndarray:
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = COLOURS[left], COLOURS[right]
    return picture


def write_two_coloured(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    records = []
    for index, (left, right) in enumerate(pair for pair in all_pairs() if is_trained(*pair)):
        for shape, (height, width) in enumerate([(32, 32), (24, 48), (48, 24)]):
            name = f"{index}-{shape}.png"
            Image.fromarray(two_coloured(left, right, height, width)).save(folder / "images" / name)
            turns = [
                {"from": "human", "value": f"<image>\n{PAPER_PROMPT}"},
                {"from": "gpt", "value": f"On the left it is {left}, on the right {right}."},
            ]
            records.append({"id": name, "image": name, "conversations": turns})
    (folder / "detail.json").write_text(json.dumps(records))


def stripped(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    return [token for token in ids if token not in stops]


def test_greedy_captions_equal_those_of_transformers(
    captioner_folder: Path, held_out: Path, vllm_answers: list[dict], transformers_answers: list[list[int]]
) -> None:
    captioner = load_captioner(captioner_folder, device="cpu", precision=torch.float32)
    stops = LlavaForConditionalGeneration.from_pretrained(captioner_folder).generation_config.eos_token_id
    equal = 0
    for path, theirs, ours in zip(sorted(held_out.iterdir()), vllm_answers, transformers_answers, strict=True):
        if stripped(theirs["token_ids"], stops) == stripped(ours, stops):
            equal += 1
        else:
            gap = logit_gap(captioner, path, theirs["token_ids"], ours)
            assert gap < TIE, f"{path.name}: {theirs['text']!r} differs where logits are {gap} apart"
    assert equal >= 0.95 * NUM_HELD_OUT


def logit_gap(captioner, path: Path, theirs: Sequence[int], ours: Sequence[int]) -> float:
    """Return how far apart the logits of two answers' first differing tokens are, in float32."""
    place = next(index for index, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1])
    ids = torch.tensor([[*captioner.prompt_ids(PAPER_PROMPT), *ours[:place]]])
    square = captioner.geometry.prepare(Image.open(path).convert("RGB"))
    pixels = captioner.normaliser(torch.from_numpy(square)[None])
    with torch.inference_mode():
        logits = captioner.llava(input_ids=ids, pixel_values=pixels).logits[0, -1]
    return float((logits[theirs[place]] - logits[ours[place]]).abs())


def test_prompts_are_those_of_training(captioner_folder: Path, vllm_answers: list[dict]) -> None:
    captioner = load_captioner(captioner_folder, device="cpu")
    assert {tuple(answer["prompt_ids"]) for answer in vllm_answers} == {tuple(captioner.prompt_ids(PAPER_PROMPT))}


def test_answers_end_at_the_stop_token_and_follow_the_picture(vllm_answers: list[dict]) -> None:
    assert {answer["finish_reason"] for answer in vllm_answers} == {"stop"}
    texts = [answer["text"].strip() for answer in vllm_answers]
    assert all(text.startswith("On the left it is") for text in texts)
    # A model whose tower or projector was not loaded says the same of every picture.
    assert len(set(texts)) >= 6
