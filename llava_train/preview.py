"""Show samples as a run would train on them: every token, and which of them are supervised."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedTokenizerBase

from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import IGNORED_LABEL, IMAGE_TOKEN, Conversation, Rendered
from imagetext.rendering_errors import RenderingError
from llava_train.assembly import prepare_run_tokenizer
from llava_train.config import FineTuneConfig, PhaseName
from llava_train.corpus import Corpus, read_corpus
from llava_train.parts import num_patches
from llava_train.renderers import open_renderer
from llava_train.towers import load_tower
from runtime.seeds import numpy_generator

_GREEN, _DIM, _RESET = "\x1b[32m", "\x1b[2m", "\x1b[0m"
_OPEN, _CLOSE = "⟦", "⟧"
"""What surrounds supervised tokens where no colours are shown."""


def preview(config: FineTuneConfig, write: Callable[[str], object], *, in_colour: bool) -> None:
    """Write `config.preview` samples of each phase as text; starts no run and trains nothing.

    Supervised tokens are green where colours can be shown, and in double brackets elsewhere. A sample that could not be
    trained on is shown with the reason. Raises UserError as training would for what is wrong with the whole.
    """
    corpus = read_corpus(config)
    tower = load_tower(config.vision_tower, max_length_tokens=config.longest_sequence_tokens)
    tokenizer = _tokenizer(config, corpus)
    for name in config.phases:
        renderer = open_renderer(config, name, tokenizer, num_patches(tower.config))
        for record in _chosen(config, name, corpus[name]):
            write(f"phase {name}, {_shown(record, renderer, tokenizer, in_colour=in_colour)}\n\n")


def _tokenizer(config: FineTuneConfig, corpus: Corpus) -> PreTrainedTokenizerBase:
    """Return the run's tokenizer, or before there is one, the one that it would get."""
    folder = config.output_dir / "tokenizer"
    if folder.exists():
        return prepare_run_tokenizer(config, corpus, folder)
    with TemporaryDirectory() as temporary:
        return prepare_run_tokenizer(config, corpus, Path(temporary) / "tokenizer")


def _chosen(config: FineTuneConfig, name: PhaseName, records: Sequence[Conversation]) -> Iterator[Conversation]:
    generator = numpy_generator(config.seed, "preview", name)
    for index in generator.choice(len(records), size=min(config.preview, len(records)), replace=False):
        yield records[int(index)]


def _shown(
    record: Conversation, renderer: ConversationRenderer, tokenizer: PreTrainedTokenizerBase, *, in_colour: bool
) -> str:
    try:
        rendered = renderer(record)
    except RenderingError as error:
        return f"refused: {error}"
    num_supervised = sum(label != IGNORED_LABEL for label in rendered.labels)
    image = "no image" if record.image is None else record.image
    head = f"{record.id}, {image}: {len(rendered.input_ids)} tokens, {num_supervised} of them supervised"
    return f"{head}\n{show_supervision(rendered, tokenizer, in_colour=in_colour)}"


def show_supervision(rendered: Rendered, tokenizer: PreTrainedTokenizerBase, *, in_colour: bool) -> str:
    """Return a rendered conversation as text with its supervised tokens set off; image tokens are counted."""
    pairs = zip(rendered.input_ids, (label != IGNORED_LABEL for label in rendered.labels), strict=True)
    shown = []
    for is_supervised, run in groupby(pairs, key=lambda pair: pair[1]):
        text = _text([token for token, _ in run], tokenizer)
        if in_colour:
            shown.append(f"{_GREEN if is_supervised else _DIM}{text}{_RESET}")
        else:
            shown.append(f"{_OPEN}{text}{_CLOSE}" if is_supervised else text)
    return "".join(shown)


def _text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    parts = []
    for is_image, run in groupby(ids, key=lambda token: token == image_id):
        tokens = list(run)
        text = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        parts.append(f"{IMAGE_TOKEN} x{len(tokens)}" if is_image else str(text))
    return "".join(parts).replace("\n", "↵\n")
