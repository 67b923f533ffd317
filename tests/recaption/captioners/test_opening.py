"""Which captioner a config opens: by name on the Hub, of other makers, and where vLLM is not installed."""

import shutil
from pathlib import Path

import pytest

from recaption.captioners.base import Answered, Request
from recaption.captioners.llava_folders import is_run_here
from recaption.captioners.opening import identify_captioner, open_captioner
from recaption.captioners.transformers_captioner import TransformersCaptioner
from recaption.captioners.vision_language_captioner import VisionLanguageCaptioner
from runtime.errors import UserError
from tests.recaption.captioners.conftest import config, picture

PROMPT = "What is it?"
PARTS_ALONE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""How the first LLaVAs are asked (llava-hf/llava-1.5-7b-hf): plain text in a message is not looked at."""


@pytest.fixture(scope="module")
def others_llava(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others") / "llava"
    shutil.copytree(model, folder)
    (folder / "rendering.json").unlink(missing_ok=True)
    assert is_run_here(folder), "a captioner of ours is known without what it was published with"
    (folder / "chat_template.jinja").write_text(PARTS_ALONE)
    return folder


def test_a_llava_that_takes_no_plain_text_is_run_by_its_own_processor(others_llava: Path) -> None:
    assert not is_run_here(others_llava)
    captioner = open_captioner(config(others_llava, prompt=PROMPT))
    assert isinstance(captioner, VisionLanguageCaptioner)
    asked = Request(ticket=7, picture=captioner.prepare(picture(0)), prompts=(PROMPT,), key="0")
    (said,) = captioner.answer(iter([asked]))
    assert isinstance(said, Answered) and said.ticket == 7


def test_a_model_of_the_hub_is_the_folder_that_it_is_fetched_to(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_train.hub._fetch", lambda name, patterns: model)
    named = config(Path("lab/captioner"))
    assert identify_captioner(named) == identify_captioner(config(model))
    assert isinstance(open_captioner(named), TransformersCaptioner)


def test_where_vllm_is_not_installed_that_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.captioners.opening.find_spec", lambda name: None)
    for act in (open_captioner, identify_captioner):
        with pytest.raises(UserError, match=r"captioner: vLLM is not installed here: .* make setup-vllm"):
            act(config(model, captioner="vllm"))
