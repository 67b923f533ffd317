"""Shared by all tests: one thread, no network, fixed global seeds, and inputs that every stage accepts."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.good_inputs import GoodInputs
    from tests.refusal import Refused

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> "GoodInputs":
    """Return inputs on which every stage runs; never write to them."""
    # Imported here: what this file imports at its top escapes the checking of types while tests run.
    from tests.good_inputs import GoodInputs

    return GoodInputs(tmp_path_factory.mktemp("good"))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> "Refused":
    """Return `refused(stage, *arguments, code=2)`: run a stage here and return the one line that it ends with."""
    from tests.refusal import call_refused

    return lambda stage, *arguments, code=2: call_refused(monkeypatch, capfd, stage, *arguments, code=code)
