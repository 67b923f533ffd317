"""Who writes the tokenizer, and who waits for it."""

import threading
from pathlib import Path

import pytest

from llava_train import corpus
from runtime import launch
from runtime.errors import UserError
from tests.llava_train import tiny


def test_other_processes_wait_for_the_tokenizer(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus.read_corpus(tiny.config(root, tmp_path))
    folder = tmp_path / "tokenizer"
    writer = threading.Timer(0.3, corpus.train_llama_bpe, (["the whole image"], 300, folder))
    monkeypatch.setattr(launch, "is_main_process", lambda: False)
    writer.start()
    tokenizer = corpus.prepare_tokenizer(folder, texts, vocab_size=320)
    writer.join()
    # The other process's tokenizer: one trained here would have learned more merges.
    assert len(tokenizer) <= 300


def test_tokenizer_that_never_comes_is_an_error(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus.read_corpus(tiny.config(root, tmp_path))
    monkeypatch.setattr(launch, "is_main_process", lambda: False)
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"tokenizer: the main process has not made this: found none after 0 seconds"):
        corpus.prepare_tokenizer(tmp_path / "tokenizer", texts, vocab_size=320)
    assert not (tmp_path / "tokenizer").exists()
