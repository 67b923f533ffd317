"""Tokenizers against open_clip and transformers; what was cut off is counted."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetext.token_cache import CachedTokenizer
from imagetext.tokenizer_training import train_clip_bpe, train_llama_bpe, train_wordpiece
from imagetext.tokenizers import TextTokenizer, clean_text, hf_tokenizer, load_hf_tokenizer, open_clip_tokenizer
from runtime.errors import UserError
from tests.imagetext.words import WordTokenizer

CORPUS = [
    "a red house on the left of a green tree",
    "two large blue birds above a boat, near the water",
    "Western Kingbird for sale $3",
    "a ham & cheese sandwich; it's 12345",
] * 10
TEXTS = [
    "a red house",
    "two birds",
    "",
    "a red house on the left of a green tree above a boat",
    "Ünïcode 日本 &amp; more!",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    train_wordpiece(CORPUS, 150, folder / "wordpiece")
    train_clip_bpe(CORPUS, 640, folder / "clip")
    train_llama_bpe(CORPUS, 400, folder / "llama")
    return folder


@pytest.mark.parametrize(("name", "strip"), [("wordpiece", True), ("wordpiece", False), ("clip", False)])
def test_ids_are_open_clips(folders: Path, name: str, strip: bool) -> None:
    from open_clip.tokenizer import HFTokenizer

    theirs = HFTokenizer(str(folders / name), context_length=9, strip_sep_token=strip)
    ours = hf_tokenizer(folders / name, 9, strip_sep_token=strip)
    assert torch.equal(ours(TEXTS).ids, theirs(TEXTS))


@pytest.mark.parametrize("name", ["wordpiece", "clip", "llama"])
def test_folder_loads_with_auto_tokenizer_and_has_the_vocabulary_asked_for(folders: Path, name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    assert len(tokenizer) <= {"wordpiece": 150, "clip": 640, "llama": 400}[name]
    ids = tokenizer("a red house", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3 and tokenizer.decode(ids).strip() == "a red house"


def test_wordpiece_is_the_papers(folders: Path) -> None:
    """[CLS] first, no [SEP], zeros after it."""
    tokenizer = load_hf_tokenizer(folders / "wordpiece")
    ids = hf_tokenizer(folders / "wordpiece", 7, strip_sep_token=True)(["A red House"]).ids[0].tolist()
    assert ids[:4] == tokenizer.convert_tokens_to_ids(["[CLS]", "a", "red", "house"]) and ids[4:] == [0, 0, 0]


def test_clip_bpe_is_laid_out_as_clips(folders: Path) -> None:
    """End of text has the highest id, so that CLIP's argmax pooling finds it; no byte is unknown."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folders / "clip")
    assert tokenizer.eos_token_id == len(tokenizer) - 1 and tokenizer.bos_token_id == len(tokenizer) - 2
    assert tokenizer.convert_ids_to_tokens([0, 256]) == ["!", "!</w>"]
    ids = tokenizer("日本 ~ ñ")["input_ids"]
    assert tokenizer.unk_token_id not in ids[1:-1] and tokenizer.decode(ids[1:-1]) == "日本 ~ ñ"


@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_llama_bpe_loses_nothing(folders: Path, text: str) -> None:
    tokenizer = _llama(folders)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


_loaded: dict[Path, object] = {}


def _llama(folders: Path):  # type: ignore[no-untyped-def]
    return _loaded.setdefault(folders, load_hf_tokenizer(folders / "llama"))


def test_llama_bpe_has_its_tokens_in_its_places(folders: Path) -> None:
    tokenizer = _llama(folders)
    marks = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id"]
    special = [*(f"<|{mark}|>" for mark in marks), "<image>", "<pad>"]
    ids = tokenizer.convert_tokens_to_ids(special)
    assert ids == list(range(len(tokenizer) - 7, len(tokenizer)))
    assert tokenizer("boat")["input_ids"][0] == ids[0] and tokenizer.pad_token == "<pad>"
    assert tokenizer.image_token == "<image>"


def test_truncation_is_reported_exactly(folders: Path) -> None:
    texts = ["house " * n for n in range(12)]
    for name, strip, room in [("wordpiece", True, 7), ("wordpiece", False, 7), ("clip", False, 7)]:
        batch = hf_tokenizer(folders / name, 9, strip_sep_token=strip)(texts)
        assert batch.truncated.tolist() == [n > room for n in range(12)]
        closing = 1 if strip else 2
        assert batch.lengths.tolist() == [min(n, room) + closing for n in range(12)]


def test_open_clips_own_tokenizer_is_adapted() -> None:
    """75 words of one token fit 77 columns; "!" is token 0, which is also the padding."""
    batch = open_clip_tokenizer("ViT-B-32")(["a " * 75, "a " * 76, "hello !", ""])
    assert batch.truncated.tolist() == [False, True, False, False]
    assert batch.lengths.tolist() == [77, 77, 4, 2]


@pytest.mark.parametrize(("name", "strip"), [("wordpiece", True), ("clip", False)])
def test_adapters_agree_on_a_published_folder(folders: Path, name: str, strip: bool) -> None:
    from open_clip.tokenizer import HFTokenizer

    from imagetext.tokenizers import OpenClipTextTokenizer

    theirs = OpenClipTextTokenizer(HFTokenizer(str(folders / name), context_length=9, strip_sep_token=strip))
    ours = hf_tokenizer(folders / name, 9, strip_sep_token=strip)
    texts = ["house " * n for n in range(12)]
    for field in ("ids", "lengths", "truncated"):
        assert torch.equal(getattr(theirs(texts), field), getattr(ours(texts), field))
    assert (theirs.vocab_size, theirs.pad_id) == (ours.vocab_size, ours.pad_id)


@given(st.text(max_size=30))
@settings(deadline=None)
def test_cleaning_is_open_clips(text: str) -> None:
    from open_clip.tokenizer import get_clean_fn

    assert clean_text(text) == get_clean_fn("whitespace")(text)


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "ccc dd", "e " * 9, ""]), max_size=5), max_size=5))
def test_cache_changes_nothing(batches: list[Sequence[str]]) -> None:
    cached, plain = CachedTokenizer(WordTokenizer()), WordTokenizer()
    assert isinstance(cached, TextTokenizer)
    for texts in batches:
        for field in ("ids", "lengths", "truncated"):
            assert torch.equal(getattr(cached(texts), field), getattr(plain(texts), field))


def test_cache_that_is_full_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagetext.token_cache._MAX_TEXTS", 2)
    inner = WordTokenizer()
    cached = CachedTokenizer(inner)
    for _ in range(2):
        assert torch.equal(cached(["a", "bb", "ccc"]).ids, WordTokenizer()(["a", "bb", "ccc"]).ids)
    assert inner.num_texts == 4  # three, then the one that found no room


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder holds no tokenizer"):
        hf_tokenizer(tmp_path, 9)
    with pytest.raises(UserError, match="vocabulary is too small: found 500, wanted more than the 514"):
        train_clip_bpe(CORPUS, 500, tmp_path / "clip")
