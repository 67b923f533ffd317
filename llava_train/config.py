"""What a captioner is made of and how its phases train."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagetext.chat_templates import CHAT_TEMPLATES
from imagetext.conversation_renderer import Rendering
from llava_train.heldout_config import HeldoutConfig
from llava_train.plan_config import PlanConfig
from runtime.errors import UserError
from runtime.loop_config import LoopConfig

PhaseName = Literal["language", "align", "instruct", "detail"]
Part = Literal["vision_tower", "projector", "language_model"]

PHASES: tuple[PhaseName, ...] = ("language", "align", "instruct", "detail")
"""All phases, in the only order in which they may run."""
LLAVA_LENGTH_TOKENS = 2048
"""Longest sequence in LLaVA-1.5's training (`model_max_length`)."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """A small LLaMA, trained from scratch, and its tokenizer."""

    width: int = 160
    """Hidden width."""
    num_layers: int = 3
    """Transformer blocks."""
    head_width: int = 32
    """Width of one attention head; servers have been tried with 32."""
    mlp_width: int = 416
    """Inner width of the gated MLP."""
    vocab_size: int = 1024
    """Rows of the embedding, special tokens included; byte-pair merges are learned up to it."""
    max_length_tokens: int = 512
    """Longest sequence the model is declared for, image tokens included."""
    initializer_range: float = 0.06
    """Standard deviation of initial weights: with 0.02, narrow models ignore the image."""
    embedding_std: float = 0.1
    """Standard deviation of initial token embeddings."""

    def __post_init__(self) -> None:
        if self.width % self.head_width:
            raise UserError(
                "not a multiple of head_width", where="language_model.width", found=self.width, wanted=self.head_width
            )
        for name in ("num_layers", "mlp_width", "vocab_size", "max_length_tokens"):
            if getattr(self, name) < 1:
                raise UserError(
                    "out of range", where=f"language_model.{name}", found=getattr(self, name), wanted=">= 1"
                )


@dataclass(frozen=True, kw_only=True)
class ShortFirstConfig:
    """A curriculum: a phase's first updates read only the conversations whose answers are short."""

    num_updates: int
    """Updates before all conversations are read."""
    max_answer_words: int
    """Most words that the answers of a short conversation have in all."""

    def __post_init__(self) -> None:
        for name in ("num_updates", "max_answer_words"):
            if getattr(self, name) < 1:
                raise UserError("out of range", where=f"short_first.{name}", found=getattr(self, name), wanted=">= 1")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on every linear layer of the language model (arXiv 2106.09685), merged when the phase ends.

    The defaults are those of LLaVA-1.5's published recipe.
    """

    rank: int = 128
    """Inner width of each adapter."""
    alpha: int = 256
    """Scale: what an adapter adds is multiplied by alpha / rank."""
    dropout: float = 0.05
    """Share of an adapter's input that training drops."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError("out of range", where="lora.rank", found=self.rank, wanted=">= 1")
        if self.alpha < 1:
            raise UserError("out of range", where="lora.alpha", found=self.alpha, wanted=">= 1")
        if not 0 <= self.dropout < 1:
            raise UserError("out of range", where="lora.dropout", found=self.dropout, wanted="[0, 1)")


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """One phase: what it reads, what it moves, how long."""

    conversations: list[str]
    """LLaVA JSON files inside the data folder (.json: one list; .jsonl: a record a line); several are read as one data
    set.
    """
    trainable: list[Part]
    """Parts whose weights move; all others are frozen."""
    loop: LoopConfig
    """Updates, batch size, learning rate and the rest of the loop."""
    rendering: Rendering = "chat"
    """chat: the chat template's turns; plain: image then answer, the question dropped, as LLaVA aligns. Answers and
    what ends them are supervised, nothing else.
    """
    vision_tower_learning_rate_multiplier: float = 1.0
    """Factor on the learning rate of the vision tower, where it is trainable."""
    projector_learning_rate_multiplier: float = 1.0
    """Factor on the learning rate of the projector, where it is trainable; LLaVA-1.5 takes 0.1 beside LoRA."""
    lora: LoraConfig | None = None
    """Train adapters instead of the language model's own weights; embeddings and output head then stay as they are."""
    heldout: HeldoutConfig | None = None
    """What the phase is measured on while it trains; null measures nothing."""
    weights: list[float] | None = None
    """How often an epoch reads each file of `conversations`: 1 reads every record once, 2 twice, 0.25 a quarter of them
    (another quarter in each of four epochs). Unset: all once.
    """
    short_first: ShortFirstConfig | None = None
    """Read short answers first: the fewer things a caption names, the plainer what each word is about."""
    packing: bool = False
    """Put several conversations of a microbatch into one row, none of which sees another; loss and gradient are those
    of a row each.
    """
    gradient_checkpointing: bool = False
    """Compute each block of the language model again in the backward pass instead of keeping what is inside it."""

    def __post_init__(self) -> None:
        if not self.conversations:
            raise UserError("no file named", where="conversations", found="[]", wanted="at least one JSON file")
        if self.weights is not None:
            self._check_weights(self.weights)
        if not self.trainable:
            raise UserError("nothing to train", where="trainable", found="[]", wanted="at least one part of the model")
        self._check_multipliers()
        if self.lora is not None and "language_model" not in self.trainable:
            wanted = "language_model among them, or lora: null"
            raise UserError("adapters on a frozen part", where="trainable", found=self.trainable, wanted=wanted)
        if self.loop.ema_decay is not None:
            found, wanted = self.loop.ema_decay, "null: the next phase continues from the weights themselves"
            raise UserError("captioners are published without averaging", where="ema_decay", found=found, wanted=wanted)
        if self.heldout is not None and self.heldout.num_captions and self.loop.sharding in ("zero3", "fsdp2"):
            found, wanted = self.heldout.num_captions, f"0 under {self.loop.sharding}"
            raise UserError("captions need whole weights", where="heldout.num_captions", found=found, wanted=wanted)
        if self.short_first is not None and self.short_first.num_updates >= self.loop.num_updates:
            found, wanted = self.short_first.num_updates, f"fewer than the phase's {self.loop.num_updates} updates"
            raise UserError(
                "no update is left for the others", where="short_first.num_updates", found=found, wanted=wanted
            )

    @property
    def moving_parts(self) -> tuple[Part, ...]:
        """Return the trainable parts but those whose learning rate is multiplied by 0."""
        multipliers = {
            "vision_tower": self.vision_tower_learning_rate_multiplier,
            "projector": self.projector_learning_rate_multiplier,
        }
        return tuple(part for part in self.trainable if multipliers.get(part, 1.0))

    def _check_multipliers(self) -> None:
        for part in ("vision_tower", "projector"):
            where = f"{part}_learning_rate_multiplier"
            if getattr(self, where) < 0:
                wanted = f"0, which freezes the {part.replace('_', ' ')}, or more"
                raise UserError("out of range", where=where, found=getattr(self, where), wanted=wanted)
            if part not in self.trainable and getattr(self, where) != 1:
                found, wanted = getattr(self, where), f"1, or {part} in trainable"
                raise UserError("a learning rate for a frozen part", where=where, found=found, wanted=wanted)

    def _check_weights(self, weights: list[float]) -> None:
        if len(weights) != len(self.conversations):
            wanted = f"{len(self.conversations)}, one for each file of conversations"
            raise UserError("wrong number of weights", where="weights", found=len(weights), wanted=wanted)
        for weight in weights:
            if not 0 < weight < math.inf:
                wanted = "more than 0; leave out the files that are not to be read"
                raise UserError("out of range", where="weights", found=weight, wanted=wanted)


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Fine-tune a captioner in the phases of LLaVA, each continuing from the one before."""

    output_dir: Path
    """Run folder; the captioner is published in its `export/`."""
    data: Path
    """Folder with the conversation files, and the pictures that they name."""
    vision_tower: Path
    """Vision tower: a transformers directory or Hub name of a CLIP or SigLIP, whole or its vision model alone."""
    language: PhaseConfig
    """Phase: language model on text alone."""
    align: PhaseConfig
    """Phase: the projector learns to speak to the language model."""
    instruct: PhaseConfig
    """Phase: questions and descriptions."""
    detail: PhaseConfig
    """Phase: detailed captions."""
    phases: list[PhaseName] = field(default_factory=lambda: list(PHASES))
    """Phases to run, in order."""
    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model to build, where no pretrained one is named."""
    pretrained_language_model: str | None = None
    """Language model to start from: a transformers directory or Hub name of a causal language model."""
    max_length_tokens: int | None = None
    """Longest sequence to train on, image tokens included; what exceeds it is cut off, as in LLaVA. Unset: 2048 with a
    pretrained language model, as in LLaVA-1.5, and otherwise all that the language model is declared for.
    """
    published_precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the published weights; between the phases they stay as training holds them, in float32 where a phase
    trained or merged them.
    """
    chat_template: str | None = None
    """Chat template by name, needed where the language model's tokenizer has none (base LLaMA-3: llama3); one that the
    tokenizer brings along has to render alike.
    """
    image_folder: str = "images"
    """Folder inside the data folder that the conversations' image paths start from. It may hold shards in img2dataset's
    layout: an image is then called SHARD.tar/KEY, or KEY alone where the shards lie in the folder itself.
    """
    pad_images: bool = True
    """Pad pictures to a square, as LLaVA-1.5 does; otherwise keep the central square, as its CLIP does."""
    preview: int = 0
    """Print so many samples of each phase, with the supervised tokens set off, and leave before training."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    """What `--plan` reckons with; training reads none of it."""
    num_workers: int = 0
    """Processes of each training process that read and decode ahead; 0 does it in the training process. Results are the
    same for any number.
    """
    seed: int = 0
    """Seed of everything random."""
    max_bad_share: float = 0.01
    """Share of samples that may be missing, broken or without an answer to learn before the run stops; small data is
    granted what 1000 samples are.
    """

    def __post_init__(self) -> None:
        if not self.phases or list(self.phases) != [name for name in PHASES if name in self.phases]:
            raise UserError(
                "wrong list of phases", where="phases", found=self.phases, wanted=f"some of {list(PHASES)} in order"
            )
        if self.num_workers < 0:
            raise UserError("out of range", where="num_workers", found=self.num_workers, wanted="0 or more")
        if not 0 <= self.max_bad_share < 1:
            raise UserError("out of range", where="max_bad_share", found=self.max_bad_share, wanted="[0, 1)")
        if self.max_length_tokens is not None and self.max_length_tokens < 1:
            raise UserError("out of range", where="max_length_tokens", found=self.max_length_tokens, wanted=">= 1")
        if self.chat_template is not None and self.chat_template not in CHAT_TEMPLATES:
            wanted = f"one of {', '.join(CHAT_TEMPLATES)}"
            raise UserError("unknown chat template", where="chat_template", found=self.chat_template, wanted=wanted)
        if self.preview < 0:
            raise UserError("out of range", where="preview", found=self.preview, wanted=">= 0")
        self._check_language_model()

    def _check_language_model(self) -> None:
        if self.pretrained_language_model is not None and self.language_model != LanguageModelConfig():
            raise UserError(
                "two language models",
                where="language_model",
                found=f"shapes to build beside {self.pretrained_language_model}",
                wanted="exactly one of language_model and pretrained_language_model",
            )
        if self.pretrained_language_model is not None:
            return
        declared = self.language_model.max_length_tokens
        if self.longest_sequence_tokens > declared:
            wanted = f"at most {declared}, language_model.max_length_tokens"
            raise UserError("too long", where="max_length_tokens", found=self.max_length_tokens, wanted=wanted)

    @property
    def longest_sequence_tokens(self) -> int:
        """Return the length of the longest sequence to train on, image tokens included."""
        if self.max_length_tokens is not None:
            return self.max_length_tokens
        return self.language_model.max_length_tokens if self.pretrained_language_model is None else LLAVA_LENGTH_TOKENS

    def phase(self, name: PhaseName) -> PhaseConfig:
        """Return the settings of one phase."""
        return {"language": self.language, "align": self.align, "instruct": self.instruct, "detail": self.detail}[name]
