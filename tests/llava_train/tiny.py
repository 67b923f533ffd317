"""A captioner small enough for tests: a 16 px CLIP, pictures of one colour, conversations about them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from imagetext.conversations import PAPER_PROMPT
from llava_train.config import FineTuneConfig, LanguageModelConfig, PhaseConfig, ShortFirstConfig
from runtime.loop_config import LoopConfig

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}
IMAGE_SIZE_PX = 16
NUM_IMAGE_TOKENS = 4


def write_clip(folder: Path) -> Path:
    """Write an untrained CLIP directory with a three-layer vision tower."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    text = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 1, "max_position_embeddings": 16,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 1,
        "image_size": IMAGE_SIZE_PX, "patch_size": 8, "initializer_factor": 5.0,
    }  # fmt: skip
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE_PX}, crop_size={"height": IMAGE_SIZE_PX, "width": IMAGE_SIZE_PX}
    ).save_pretrained(folder)
    return folder


def write_data(folder: Path, num_images: int = 12) -> Path:
    """Write pictures of one colour with conversations for every phase."""
    (folder / "images").mkdir(parents=True)
    names = list(COLOURS)
    records: dict[str, list[object]] = {"align": [], "instruct": [], "detail": [], "text": []}
    for index in range(num_images):
        colour = names[index % len(names)]
        Image.new("RGB", (20 + index, 20), COLOURS[colour]).save(folder / "images" / f"{index}.png")
        caption = f"The whole image is {colour}."
        records["align"].append(_record(f"align-{index}", index, [("Describe.", caption)]))
        questions = [("What colour is it?", colour), ("Is it black?", "No.")]
        records["instruct"].append(_record(f"instruct-{index}", index, questions))
        records["detail"].append(_record(f"detail-{index}", index, [(PAPER_PROMPT, caption)]))
        records["text"].append(_record(f"text-{index}", None, [("Say something.", caption)]))
    for name, conversations in records.items():
        (folder / f"{name}.json").write_text(json.dumps(conversations))
    return folder


def _record(identity: str, image_index: int | None, turns: list[tuple[str, str]]) -> dict[str, object]:
    mark = "" if image_index is None else "<image>\n"
    conversations = []
    for place, (question, answer) in enumerate(turns):
        conversations.append({"from": "human", "value": question if place else mark + question})
        conversations.append({"from": "gpt", "value": answer})
    image = {} if image_index is None else {"image": f"{image_index}.png"}
    return {"id": identity, **image, "conversations": conversations}


def config(root: Path, output_dir: Path, *, num_updates: int = 3, checkpoint_every_updates: int = 2) -> FineTuneConfig:
    """Return a run of all four phases over what `write_clip` and `write_data` wrote below `root`."""
    loop = LoopConfig(
        num_updates=num_updates,
        batch_size=8,
        learning_rate=1e-2,
        checkpoint_every_updates=checkpoint_every_updates,
        log_every_updates=1,
        device="cpu",
        wandb="off",
    )
    return FineTuneConfig(
        output_dir=output_dir,
        data=root / "data",
        vision_tower=root / "clip",
        language_model=LanguageModelConfig(
            width=32, num_layers=2, head_width=16, mlp_width=48, vocab_size=320, max_length_tokens=128
        ),
        language=PhaseConfig(conversations=["text.json"], trainable=["language_model"], loop=loop),
        align=PhaseConfig(conversations=["align.json"], trainable=["projector"], rendering="plain", loop=loop),
        instruct=PhaseConfig(
            conversations=["instruct.json", "detail.json"], trainable=["projector", "language_model"], loop=loop
        ),
        detail=PhaseConfig(
            conversations=["detail.json"],
            trainable=["vision_tower", "projector", "language_model"],
            loop=loop,
            short_first=ShortFirstConfig(num_updates=1, max_answer_words=5) if num_updates > 1 else None,
        ),
    )


def pretrained_config(root: Path, output_dir: Path, pretrained: Path, /, **changes: Any) -> FineTuneConfig:
    """Return a run of LLaVA's phases that starts from a published language model."""
    own = config(root, output_dir)
    fields = {
        "language_model": LanguageModelConfig(),
        "pretrained_language_model": str(pretrained),
        "max_length_tokens": 128,
        "phases": ["align", "instruct"],
    }
    return dataclasses.replace(own, **{**fields, **changes})


def kill_after(monkeypatch: pytest.MonkeyPatch, num_losses: int, train: Callable[[], object]) -> None:
    """Train until the loss was computed so many times, then die as by control-C."""
    from llava_train import phases

    done = 0
    original = phases.AnswerTask.loss

    def loss_until_killed(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal done
        if done == num_losses:
            raise KeyboardInterrupt
        done += 1
        return original(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(phases.AnswerTask, "loss", loss_until_killed)
        with pytest.raises(KeyboardInterrupt):
            train()


def write_captioner(folder: Path) -> Path:
    """Write an untrained captioner as training would publish it."""
    from llava_train.phases import fine_tune

    write_clip(folder / "clip")
    write_data(folder / "data")
    return fine_tune(config(folder, folder / "run", num_updates=1))
