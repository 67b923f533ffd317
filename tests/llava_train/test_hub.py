"""Models by path or by name: what is fetched, and what is said when it can't be."""

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import pytest

from llava_train.hub import local_folder
from runtime.errors import UserError

NAME = "openai/clip-vit-large-patch14-336"


def test_folders_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the Hub"))
    assert local_folder(tmp_path) == tmp_path
    assert local_folder("/no/such/folder/at/all") == Path("/no/such/folder/at/all")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "clip").mkdir(parents=True)
    assert local_folder("models/clip") == Path("models/clip")


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_names_are_fetched_with_the_weights_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    there = {"config.json", f"model.{ending}", "tf_model.h5", "original/consolidated.00.pth"}

    def fetch(name: str, *, allow_patterns: Sequence[str], ignore_patterns: Sequence[str]) -> str:
        assert name == NAME
        for path in huggingface_hub.utils.filter_repo_objects(
            sorted(there), allow_patterns=list(allow_patterns), ignore_patterns=list(ignore_patterns)
        ):
            (tmp_path / path).write_text("")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert local_folder(NAME) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", f"model.{ending}"}


def test_what_the_hub_does_not_give_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("outgoing traffic has been disabled")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = rf"{NAME}: neither a folder nor a model that the Hub gives out: found LocalEntryNotFoundError: outgoing"
    with pytest.raises(UserError, match=message):
        local_folder(NAME)
