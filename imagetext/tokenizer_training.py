"""Train small tokenizers of the three kinds the field uses; each is saved as a folder that `AutoTokenizer` loads."""

from collections.abc import Iterable
from operator import add
from pathlib import Path
from typing import Any

from imagetext.chat_templates import LLAMA3
from imagetext.merges import count_words, learn_merges
from runtime.atomic import atomic_directory
from runtime.errors import UserError

IMAGE_TOKEN = "<image>"
BEGIN_OF_TEXT, END_OF_TEXT = "<|begin_of_text|>", "<|end_of_text|>"
START_HEADER, END_HEADER, END_OF_TURN = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
PAD_TOKEN = "<pad>"
_LLAMA_SPECIAL_TOKENS = [BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN, IMAGE_TOKEN, PAD_TOKEN]
_LLAMA_SPLIT = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""How LLaMA-3 cuts text before merging (its published tokenizer.json)."""


def train_wordpiece(texts: Iterable[str], vocab_size: int, folder: Path) -> Path:
    """Train a lower-case BERT WordPiece ([PAD] is 0); load with `hf_tokenizer(..., strip_sep_token=True)` for CLIP."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = BertTokenizer(vocab={token: index for index, token in enumerate(special)}).backend_tokenizer
    words = count_words(texts, backend)
    characters = sorted(set().union(*words))
    base = [*special, *characters, *(f"##{character}" for character in characters)]
    symbols = {(word[0], *(f"##{character}" for character in word[1:])): count for word, count in words.items()}
    merges = learn_merges(symbols, vocab_size - len(base), _join_wordpieces)
    tokens = dict.fromkeys([*base, *(_join_wordpieces(*pair) for pair in merges)])
    return _save(BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}), folder)


def _join_wordpieces(left: str, right: str) -> str:
    return left + right.removeprefix("##")


def train_clip_bpe(texts: Iterable[str], vocab_size: int, folder: Path) -> Path:
    """Train a lower-case BPE in OpenAI CLIP's format; loads as `transformers.CLIPTokenizer` and in open_clip.

    Ids are laid out as in CLIP: 256 bytes, 256 bytes that end a word, merges, start and, highest of all, end of text.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = [*alphabet, *(character + "</w>" for character in alphabet)]
    num_merges = _merges_left(vocab_size, len(base) + 2)
    words = count_words(texts, CLIPTokenizer().backend_tokenizer)
    symbols = {(*word[:-1], word[-1] + "</w>"): count for word, count in words.items()}
    merges: Any = learn_merges(symbols, num_merges, add)
    tokens = [*base, *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return _save(CLIPTokenizer(vocab=vocab, merges=merges), folder)


def train_llama_bpe(texts: Iterable[str], vocab_size: int, folder: Path) -> Path:
    """Train a byte-level BPE in LLaMA-3's format: its special tokens, then <image> and <pad>, and its chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    num_merges = _merges_left(vocab_size, 256 + len(_LLAMA_SPECIAL_TOKENS))
    backend = Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    words = count_words(texts, backend, leading_space=True)
    merges: Any = learn_merges({tuple(word): count for word, count in words.items()}, num_merges, add)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    backend.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=True)
    return _save(_llama_tokenizer(backend), folder)


def _llama_tokenizer(backend: Any) -> Any:
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    # As in LLaMA-3, special tokens follow the learned vocabulary.
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _LLAMA_SPECIAL_TOKENS])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A", special_tokens=[(BEGIN_OF_TEXT, backend.token_to_id(BEGIN_OF_TEXT))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PAD_TOKEN,
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = LLAMA3.plain
    return tokenizer


def _merges_left(vocab_size: int, reserved: int) -> int:
    if vocab_size <= reserved:
        wanted = f"more than the {reserved} bytes and marks"
        raise UserError("vocabulary is too small", where="vocab_size", found=vocab_size, wanted=wanted)
    return vocab_size - reserved


def _save(tokenizer: Any, folder: Path) -> Path:
    with atomic_directory(Path(folder)) as partial:
        tokenizer.save_pretrained(str(partial))
    return Path(folder)
