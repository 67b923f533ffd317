"""Held-out samples of a phase: batches for their loss, and captions of their pictures while it trains.

Captions go to `captions.jsonl` of the phase's folder, a line each. Of drawn pictures the scene is known: what captions
say is parsed and checked against it, as the evaluation of a finished captioner does (`eval.suites.captions`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn
from transformers import PreTrainedTokenizerBase

from imagetext.conversation_index import open_conversations
from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import IMAGE_TOKEN, PAPER_PROMPT, Conversation, Turn
from imagetext.decode import DecodeError, decode
from imagetext.picture_store import MISSING, PictureStore
from imagetext.shards import list_shards, read_shard
from llava_train.batch import ConversationBatch, RenderedSample
from llava_train.config import FineTuneConfig, PhaseConfig, PhaseName
from llava_train.corpus import open_pictures
from llava_train.heldout_config import HeldoutConfig
from llava_train.model import LoadedCaptioner
from llava_train.pixels import PixelGeometry
from miniweb.claims import COVERED_KINDS, check, parse
from miniweb.scene import Scene
from runtime.ema import Ema
from runtime.errors import UserError
from runtime.heldout import Heldout
from runtime.launch import is_main_process
from runtime.metrics import JsonLines
from runtime.run import CACHE

CAPTIONS_FILE = "captions.jsonl"


@dataclass(frozen=True, kw_only=True)
class HeldoutSample:
    """One sample that is never trained on."""

    conversation: Conversation
    pixels: UInt8[np.ndarray, "channel height width"] | None
    scene: Scene | None
    """What is in the picture, where it was drawn."""

    @property
    def question(self) -> str:
        """Return what is asked about the picture first."""
        asked = next(turn.text for turn in self.conversation.turns if turn.role == "user")
        return asked.replace(IMAGE_TOKEN, "").strip()


def read_heldout(config: FineTuneConfig, heldout: HeldoutConfig, geometry: PixelGeometry) -> list[HeldoutSample]:
    """Read the samples that a phase is measured on, with pictures of files and shards as training reads them.

    There are few of them, chosen by hand, and none is skipped: raises UserError for what is missing or damaged.
    """
    if heldout.scenes is not None:
        samples = _of_scenes(config.data / heldout.scenes, geometry)
    else:
        samples = _of_file(config, config.data / str(heldout.conversations), geometry)
    found = list(islice(samples, max(heldout.num_samples, heldout.num_captions)))
    if not found:
        where = config.data / str(heldout.scenes or heldout.conversations)
        raise UserError("no held-out sample", where=where, found="none")
    return found


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a phase reads: from conversations to batches, and back to words."""

    render: ConversationRenderer
    collate: Callable[[Sequence[RenderedSample]], ConversationBatch]
    tokenizer: PreTrainedTokenizerBase
    geometry: PixelGeometry


class CaptionProbe:
    """Caption held-out pictures after updates that are due (a `runtime.loop.OnUpdate`)."""

    def __init__(
        self,
        phase: PhaseConfig,
        config: HeldoutConfig,
        samples: Sequence[HeldoutSample],
        reading: Reading,
        folder: Path,
    ):
        self._config, self._reading = config, reading
        self._num_updates = phase.loop.num_updates
        self._precision = torch.bfloat16 if phase.loop.precision == "bf16" else torch.float32
        self._samples = [sample for sample in samples if sample.pixels is not None][: config.num_captions]
        self._lines = JsonLines(folder / CAPTIONS_FILE)

    def __call__(self, update: int, model: nn.Module, ema: Ema | None) -> Mapping[str, int | float]:
        """Write captions where they are due; return what their claims are worth, where the scenes are known."""
        if not self._samples or (update % self._config.every_updates and update != self._num_updates):
            return {}
        model.eval()
        captions = self._captions(model)
        model.train()
        if is_main_process():
            # A run that continues from before this update writes the same lines again.
            self._lines.truncate(update - 1)
            for sample, caption in zip(self._samples, captions, strict=True):
                self._lines.append({"update": update, "key": sample.conversation.id, "caption": caption})
        return claim_shares([(caption, sample.scene) for caption, sample in zip(captions, self._samples)])

    def _captions(self, model: Any) -> list[str]:
        captioner = LoadedCaptioner(
            llava=model.llava,
            tokenizer=self._reading.tokenizer,
            geometry=self._reading.geometry,
            normaliser=model.normaliser,
            device=model.normaliser.mean.device,
            precision=self._precision,
        )
        answers = captioner.answer_pixels(
            [sample.pixels for sample in self._samples if sample.pixels is not None],
            [sample.question for sample in self._samples],
            max_new_tokens=self._config.max_new_tokens,
            batch_size=len(self._samples),
        )
        return [captioner.text(answer) for answer in answers]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a phase is measured on while it trains: nothing, where its config asks for nothing."""

    heldout: Heldout | None = None
    probe: CaptionProbe | None = None


def open_evaluation(config: FineTuneConfig, name: PhaseName, reading: Reading, folder: Path) -> Evaluation:
    """Read and render a phase's held-out samples; captions of their pictures will go into `folder`.

    Raises UserError for samples that are missing or damaged, or can't be rendered.
    """
    phase = config.phase(name)
    if phase.heldout is None:
        return Evaluation()
    samples = read_heldout(config, phase.heldout, reading.geometry)
    scored = [_rendered(sample, reading) for sample in samples[: phase.heldout.num_samples]]
    size = phase.loop.microbatch_size or phase.loop.batch_size
    batches = [reading.collate(scored[start : start + size]) for start in range(0, len(scored), size)]
    return Evaluation(
        heldout=Heldout(microbatches=batches, every_updates=phase.heldout.every_updates),
        probe=CaptionProbe(phase, phase.heldout, samples, reading, folder),
    )


def _rendered(sample: HeldoutSample, reading: Reading) -> RenderedSample:
    ids, labels = reading.render(sample.conversation)
    return RenderedSample(key=sample.conversation.id, input_ids=ids, labels=labels, image=sample.pixels)


def claim_shares(captions: Sequence[tuple[str, Scene | None]]) -> dict[str, float]:
    """Return how much of the scenes was told truly, and how many of the claims do not hold, over all captions.

    Captions without a scene count for nothing; a share of nothing is left out.
    """
    num_facts = num_covered = num_claims = num_wrong = 0
    for caption, scene in captions:
        if scene is None:
            continue
        checked = check(parse(caption), scene)
        facts = sum(checked.num_facts.get(kind, 0) for kind in COVERED_KINDS)
        num_facts += facts
        num_covered += facts - sum(fact.kind in COVERED_KINDS for fact in checked.missed)
        num_claims += checked.num_claims
        num_wrong += len(checked.unsupported) + len(checked.void)
    shares = {"heldout_coverage": (num_covered, num_facts), "heldout_unsupported_share": (num_wrong, num_claims)}
    return {name: part / whole for name, (part, whole) in shares.items() if whole}


def _of_file(config: FineTuneConfig, path: Path, geometry: PixelGeometry) -> Iterator[HeldoutSample]:
    if not path.exists():
        raise UserError("no held-out conversations", where=path, found="no such file")
    conversations = open_conversations(path, config.output_dir / CACHE)
    pictures = open_pictures(config, [conversations])
    for conversation in conversations:
        pixels = None if conversation.image is None else _pixels(pictures, conversation.image, geometry)
        yield HeldoutSample(conversation=conversation, pixels=pixels, scene=None)


def _of_scenes(folder: Path, geometry: PixelGeometry) -> Iterator[HeldoutSample]:
    for shard in list_shards(folder):
        for sample in read_shard(shard, folder.name):
            record = sample.metadata.get("scene")
            if not isinstance(record, dict):
                where = f"{shard.tar}: {sample.key}"
                raise UserError("a sample without its scene", where=where, wanted="scene in .json")
            turns = (Turn("user", f"{IMAGE_TOKEN}\n{PAPER_PROMPT}"), Turn("assistant", sample.captions["original"]))
            yield HeldoutSample(
                conversation=Conversation(id=sample.key, turns=turns, image=sample.key),
                pixels=geometry.prepare(decode(sample.image)),
                scene=Scene.from_json(record),
            )


def _pixels(pictures: PictureStore, name: str, geometry: PixelGeometry) -> UInt8[np.ndarray, "channel height width"]:
    try:
        return geometry.prepare(decode(pictures.read(name)))
    except DecodeError as error:
        state = "missing" if error.reason == MISSING else "damaged"
        raise UserError(f"a held-out picture is {state}", where=pictures.folder / name, found=str(error)) from error
