"""From a run's config to its captioner before training: with a language model of its own, or with a published one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase

from imagetext.chat_marks import settle_chat_template
from imagetext.conversation_renderer import ConversationRenderer
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.build import build_captioner, join_captioner
from llava_train.config import FineTuneConfig
from llava_train.corpus import Corpus, prepare_tokenizer
from llava_train.hub import local_folder
from llava_train.language_models import image_tokenizer, load_language_model, widen_table
from llava_train.towers import load_tower
from runtime.atomic import atomic_directory
from runtime.launch import have_made_once


@dataclass(frozen=True, kw_only=True)
class Foundations:
    """The published models that a captioner starts from."""

    tower: Any
    """Vision tower."""
    language_model: PreTrainedModel | None
    """Causal language model; None where one is trained from scratch."""


def load_foundations(config: FineTuneConfig) -> Foundations:
    """Load what a captioner starts from; raises UserError for what can't be part of one."""
    tower = load_tower(config.vision_tower, max_length_tokens=config.longest_sequence_tokens)
    name = config.pretrained_language_model
    language_model = None
    if name is not None:
        language_model = load_language_model(name, max_length_tokens=config.longest_sequence_tokens)
        # A template that can't be trained with shows here already, before the run's folder holds anything.
        _adopt_tokenizer(name, config.chat_template)
    return Foundations(tower=tower, language_model=language_model)


def prepare_run_tokenizer(config: FineTuneConfig, corpus: Corpus, folder: Path) -> PreTrainedTokenizerBase:
    """Load the run's tokenizer; the main process makes it first where it is not there: learned, or adopted.

    It has the chat template that the captioner is trained and published with. Raises UserError when there is none.
    """
    if config.pretrained_language_model is None:
        tokenizer = prepare_tokenizer(folder, corpus, config.language_model.vocab_size)
        settle_chat_template(tokenizer, config.chat_template)
        return tokenizer
    adopted = _adopt_tokenizer(config.pretrained_language_model, config.chat_template)
    have_made_once(folder, lambda: _save(adopted, folder))
    return load_hf_tokenizer(folder)


def assemble(
    config: FineTuneConfig, foundations: Foundations, tokenizer: PreTrainedTokenizerBase, *, attention: str
) -> LlavaForConditionalGeneration:
    """Return the captioner before its first phase, a pure function of its arguments; takes the foundations over."""
    language_model = foundations.language_model
    if config.pretrained_language_model is None or language_model is None:
        return build_captioner(
            foundations.tower, tokenizer, config.language_model, seed=config.seed, attention=attention
        )
    num_known = len(load_hf_tokenizer(local_folder(config.pretrained_language_model)))
    widen_table(language_model, tokenizer, num_known=num_known, seed=config.seed)
    return join_captioner(foundations.tower, language_model, tokenizer, seed=config.seed, attention=attention)


def _adopt_tokenizer(model: str, chat_template: str | None) -> PreTrainedTokenizerBase:
    """Return a language model's tokenizer for a captioner; raises UserError when answers can't be trained on in it."""
    tokenizer = image_tokenizer(model)
    settle_chat_template(tokenizer, chat_template)
    ConversationRenderer(tokenizer, num_image_tokens=1)
    return tokenizer


def _save(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    with atomic_directory(folder) as partial:
        tokenizer.save_pretrained(str(partial))
