"""Chat templates of language models that a run starts from: missing, named, unknown, published without image parts."""

import dataclasses
from pathlib import Path

import pytest

from imagetext.chat_templates import LLAMA3
from llava_train import phases
from runtime.errors import UserError
from tests.imagetext.published_templates import LLAMA3_INSTRUCT
from tests.llava_train import published, tiny


def test_template_by_another_name_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chat_template: unknown chat template: found llama, wanted one of llama3, "):
        dataclasses.replace(tiny.config(root, tmp_path), chat_template="llama")


def test_base_language_model_needs_a_template_by_name(root: Path, tmp_path: Path) -> None:
    llama = published.write_llama(tmp_path / "llama", chat_template=None)
    config = tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"])
    with pytest.raises(UserError, match=r"tokenizer has no chat template\. Name the one to train with by"):
        phases.fine_tune(config)
    # Nothing was made, so that the field may be set in the same folder.
    folder = phases.fine_tune(dataclasses.replace(config, chat_template="llama3"))
    assert (folder / "chat_template.jinja").read_text().strip() == LLAMA3.plain.strip()


def test_unknown_template_without_marks_is_refused_before_anything_is_made(root: Path, tmp_path: Path) -> None:
    unknown = "{{ bos_token }}{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}"
    llama = published.write_llama(tmp_path / "llama", chat_template=unknown)
    message = r"none that we know: found '<\|begin_of_text\|>user> What is it\?\\nassistant> A boat\.\\n', tokens \["
    with pytest.raises(UserError, match=message):
        phases.fine_tune(tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"]))
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_published_template_is_trained_with_and_named_otherwise_is_refused(root: Path, tmp_path: Path) -> None:
    llama = published.write_llama(tmp_path / "llama", chat_template=LLAMA3_INSTRUCT)
    config = tiny.pretrained_config(root, tmp_path / "run", llama, phases=["align"])
    with pytest.raises(UserError, match="chat template renders otherwise than 'chatml'"):
        phases.fine_tune(dataclasses.replace(config, chat_template="chatml"))
    assert "generation %}" not in (phases.fine_tune(config) / "chat_template.jinja").read_text()
