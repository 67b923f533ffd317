"""Sheets of pictures during training."""

import copy
import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image
from torch import nn

from dit_train.building import Frozen
from dit_train.contact_sheet import contact_sheet
from dit_train.preview_config import PreviewConfig
from dit_train.sampler import Sampler
from dit_train.transformer import TextDiT
from runtime.atomic import write_bytes
from runtime.ema import Ema
from runtime.launch import is_main_process

FOLDER = "previews"
"""Folder inside a run's for `<update>.png`."""


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Draw after some updates: an `on_update` of `runtime.loop.fit`."""

    config: PreviewConfig
    frozen: Frozen
    folder: Path
    """The run's."""
    num_updates: int
    seed: int

    def __call__(self, update: int, model: nn.Module, ema: Ema | None) -> dict[str, int | float | Path]:
        """Write the sheet of this update, where one is due, and return its path; training goes on as without it."""
        every = self.config.every_updates
        if every is None or (update % every and update != self.num_updates) or not is_main_process():
            return {}
        assert ema is not None, "the config requires an average"
        # A copy: the model in training keeps its weights and its mode.
        averaged = copy.deepcopy(cast(TextDiT, model))
        ema.copy_to(averaged)
        path = self.folder / FOLDER / f"{update:07d}.png"
        write_bytes(path, self._sheet(averaged))
        return {"preview": path}

    def _sheet(self, model: TextDiT) -> bytes:
        frozen, prompts = self.frozen, self.config.prompts
        sampler = Sampler(
            model, frozen.text_encoder, scheduler=frozen.objective.scheduler(), autoencoder=frozen.autoencoder
        )
        ids = [f"preview {number}" for number in range(len(prompts))]
        pixels = sampler.generate(prompts, ids, self.config.sampling, seed=self.seed)
        buffer = io.BytesIO()
        pictures = [(Image.fromarray(one.numpy()), prompt) for one, prompt in zip(pixels, prompts, strict=True)]
        contact_sheet(pictures).save(buffer, "PNG")
        return buffer.getvalue()
