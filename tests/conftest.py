"""Shared by all tests: one thread, no network, fixed global seeds, and inputs that every stage accepts."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch

from tests.good_inputs import GoodInputs
from tests.refusal import refused

__all__ = ["good", "refused"]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> GoodInputs:
    """Return inputs on which every stage runs; never write to them."""
    return GoodInputs(tmp_path_factory.mktemp("good"))
