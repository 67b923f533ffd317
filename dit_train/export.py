"""Write a diffusers folder that draws in a Python with torch, diffusers and transformers alone."""

import inspect
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import diffusers

import dit_train.layers
import dit_train.pipeline
import dit_train.transformer
from dit_train.autoencoder import Autoencoder
from dit_train.objectives import Scheduler
from dit_train.text_encoder import FrozenTextEncoder
from dit_train.transformer import TextDiT
from runtime.atomic import atomic_directory, write_json

TRANSFORMER_MODULE = "text_dit"
PIPELINE_MODULE = "pipeline"
_IMPORT_OF_LAYERS = re.compile(r"^from dit_train\.layers import (\([^)]*\)|[^\n]*)\n", re.MULTILINE)


def export_pipeline(
    folder: Path,
    transformer: TextDiT,
    text_encoder: FrozenTextEncoder,
    *,
    scheduler: Scheduler,
    facts: Mapping[str, object],
    autoencoder: Autoencoder | None = None,
) -> None:
    """Write `folder`, whole or absent: weights, code, schedule, tokenizer and `facts` about the training.

    The transformer's weights should be the averaged ones. The code files are `model_file` and a copy of
    `dit_train.pipeline`; diffusers loads them with `trust_remote_code=True`.
    """
    with atomic_directory(folder) as target:
        transformer.save_pretrained(target / "transformer")
        text_encoder.model.save_pretrained(target / "text_encoder")
        text_encoder.tokenizer.save_pretrained(target / "tokenizer")
        scheduler.save_pretrained(target / "scheduler")
        if autoencoder is not None:
            autoencoder.model.save_pretrained(target / "vae")
        (target / "transformer" / f"{TRANSFORMER_MODULE}.py").write_text(model_file())
        shutil.copyfile(dit_train.pipeline.__file__, target / f"{PIPELINE_MODULE}.py")
        write_json(target / "training.json", dict(facts))
        (target / "model_index.json").write_text(
            json.dumps(_model_index(text_encoder, scheduler, autoencoder), indent=2) + "\n"
        )


def model_file() -> str:
    """Return `dit_train.layers` and `dit_train.transformer` as the text of one module.

    One, since diffusers would share a module beside it between all folders that a process loads.
    """
    layers, transformer = (inspect.getsource(module) for module in (dit_train.layers, dit_train.transformer))
    before, _, after = _IMPORT_OF_LAYERS.split(transformer)
    return f"{layers}\n\n{before}{after}"


def _model_index(
    text_encoder: FrozenTextEncoder, scheduler: Scheduler, autoencoder: Autoencoder | None
) -> dict[str, object]:
    return {
        "_class_name": [PIPELINE_MODULE, dit_train.pipeline.TextDiTPipeline.__name__],
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", type(text_encoder.model).__name__],
        "tokenizer": ["transformers", type(text_encoder.tokenizer).__name__],
        "transformer": [TRANSFORMER_MODULE, TextDiT.__name__],
        "vae": [None, None] if autoencoder is None else ["diffusers", type(autoencoder.model).__name__],
    }
