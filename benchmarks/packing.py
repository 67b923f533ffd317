"""Packing: what it saves on the small web's conversations, and what it would on LLaVA's 665,000."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from benchmarks import packing_mix
from benchmarks.race import Contender, race, table, timed
from benchmarks.tiny_captioner import write_clip
from imagetext.conversation_renderer import ConversationRenderer
from imagetext.conversations import Conversation, read_conversations
from imagetext.tokenizer_training import train_llama_bpe
from imagetext.tokenizers import load_hf_tokenizer
from llava_train.attention import captioner_attention
from llava_train.batch import ConversationBatch, RenderedSample, collate
from llava_train.build import build_captioner
from llava_train.config import LanguageModelConfig
from llava_train.network import SupervisedCaptioner
from llava_train.order import epoch_order
from llava_train.parts import num_image_tokens
from llava_train.pixels import Normaliser, PixelGeometry
from llava_train.task import AnswerTask
from llava_train.towers import load_tower
from miniweb.config import CountsConfig, MiniwebConfig
from miniweb.conversations import build_conversations
from runtime.seeds import numpy_generator
from runtime.tables import markdown_table

ABOUT = """\
A row each: a microbatch's conversations are padded to the longest of them. Packed: first-fit decreasing into rows,
none of which has more than the model's longest sequence; attention stays within each conversation, so loss and gradient
are the same (tested to 1e-5). Random order, or like lengths together (`llava_train.order`).

The small web: questions and descriptions of the preset `mini`, its shapes of models, microbatches of 64, training steps
on CPU in bf16. Here attention masks, so a packed row pays for the square of its width.

LLaVA's mix: no data, only lengths drawn from what is published (below, with what had to be assumed), microbatches of
16 as in LLaVA's scripts, out of batches of 128; LLaMA-3-8B. Orders: random; LLaVA's, which keeps pictures and text
alone in batches apart and gives every device as much of a batch's text as the others; like letters, ours by letters
alone; like lengths, ours as training reads, by letters with each picture counted as 4 for each of its tokens. Letters
are drawn too: 4.4 a token, among conversations with a standard deviation of 15 % (assumed).

Work is the language model's forward pass: 2 FLOPs for each of the 6.98 billion weights of its blocks and each token,
padding included, and causal attention: over the padded width where each has a row, within each conversation where the
variable-length kernel runs over packed rows."""

_BATCH_SIZE = 64
_LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many conversations."""

    num_pictures: int = 512
    num_microbatches: int = 4
    num_drawn: int = 20_480


SIZES = {"full": Size(), "tiny": Size(num_pictures=16, num_microbatches=1, num_drawn=256)}


def measure(size: Size, repeats: int) -> str:
    """Return the tables of both, and of what the second rests on."""
    return f"{_small_web(size, repeats)}\n{packing_mix.measure(size.num_drawn)}"


def _small_web(size: Size, repeats: int) -> str:
    with TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), size)
        samples = bench.samples()
        steps = {
            f"{order}, {rows}": bench.microbatches(samples[order], packed=rows == "packed")
            for order in samples
            for rows in ("a row each", "packed")
        }
        contenders = [
            Contender(name=name, seconds=bench.timer(batches), num_items=sum(len(batch.keys) for batch in batches))
            for name, batches in steps.items()
        ]
        results = race(contenders, repeats=repeats)
    lengths = [len(sample.input_ids) for sample in samples["random order"]]
    what = f"{len(lengths)} conversations of {min(lengths)} to {max(lengths)} tokens, {np.mean(lengths):.0f} on average"
    padding = markdown_table(
        ["way", "tokens computed", "of them padding"],
        [[name, *_padding(batches, sum(lengths))] for name, batches in steps.items()],
    )
    return f"The small web: {what}.\n\n{padding}\n{table(results, unit='conversations')}"


def _padding(batches: Sequence[ConversationBatch], num_tokens: int) -> tuple[str, str]:
    computed = sum(batch.input_ids.numel() for batch in batches)
    return f"{computed}", f"{1 - num_tokens / computed:.1%}"


class _Bench:
    """An untrained captioner of the preset's shapes, and conversations in memory; pictures are noise of a size."""

    def __init__(self, folder: Path, size: Size):
        self._size = size
        config = LanguageModelConfig()
        self._max_row_tokens = config.max_length_tokens
        self._records = _conversations(folder, size.num_pictures)
        texts = [turn.text for record in self._records for turn in record.turns]
        train_llama_bpe(texts, config.vocab_size, folder / "tokenizer")
        self._tokenizer: PreTrainedTokenizerBase = load_hf_tokenizer(folder / "tokenizer")
        tower = load_tower(write_clip(folder / "clip"), max_length_tokens=config.max_length_tokens)
        attention = captioner_attention(torch.device("cpu"))
        llava = build_captioner(tower, self._tokenizer, config, seed=0, attention=attention)
        self._side_px = int(tower.config.image_size)
        geometry = PixelGeometry(image_size_px=self._side_px, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        self._network = SupervisedCaptioner(llava, Normaliser(geometry)).train()
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=_LEARNING_RATE)

    def samples(self) -> Mapping[str, list[RenderedSample]]:
        """Return the same conversations in two orders, as many as the microbatches hold."""
        generator = numpy_generator("benchmarks", "packing")
        image = generator.integers(0, 256, (3, self._side_px, self._side_px), dtype=np.uint8)
        render = ConversationRenderer(self._tokenizer, num_image_tokens=num_image_tokens(self._network.llava))
        rendered = []
        for index in generator.permutation(len(self._records))[: self._size.num_microbatches * _BATCH_SIZE]:
            record = self._records[index]
            ids, labels = render(record)
            rendered.append(RenderedSample(key=record.id, input_ids=ids, labels=labels, image=image))
        order = epoch_order(np.array([len(sample.input_ids) for sample in rendered]), _BATCH_SIZE, 0, epoch=0)
        return {"random order": rendered, "like lengths": [rendered[index] for index in order]}

    def microbatches(self, samples: Sequence[RenderedSample], *, packed: bool) -> list[ConversationBatch]:
        """Return samples in microbatches of equally many."""
        width = self._max_row_tokens if packed else None
        starts = range(0, len(samples), _BATCH_SIZE)
        return [collate(samples[start : start + _BATCH_SIZE], 0, max_row_tokens=width) for start in starts]

    def timer(self, batches: Sequence[ConversationBatch]) -> Callable[[], float]:
        """Return what trains on all of the microbatches once and says how long it took."""
        return lambda: timed(lambda: self._train(batches))

    def _train(self, batches: Sequence[ConversationBatch]) -> None:
        for batch in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                sums = AnswerTask().loss(self._network, batch, 0, torch.Generator())
            (sums.total / AnswerTask().count(batch)).backward()
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)


def _conversations(folder: Path, num_pictures: int) -> list[Conversation]:
    build_conversations(MiniwebConfig(output_dir=folder, counts=CountsConfig(captioner=num_pictures)), folder)
    return [
        record
        for name in ("detail", "instruct")
        for record in read_conversations(folder / "captioner" / f"{name}.json")
    ]  # fmt: skip
