"""Tiny inputs and one tiny published captioner, made once."""

from pathlib import Path

import pytest

from tests.llava_train import tiny


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioner")
    tiny.write_clip(folder / "clip")
    tiny.write_data(folder / "data")
    return folder


@pytest.fixture(scope="session")
def export(root: Path) -> Path:
    from llava_train.phases import fine_tune

    return fine_tune(tiny.config(root, root / "run"))
