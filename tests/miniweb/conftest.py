import pytest

from miniweb.build import build
from miniweb.config import MiniwebConfig
from tests.miniweb.tiny import tiny_config


@pytest.fixture(scope="session")
def tiny_web(tmp_path_factory: pytest.TempPathFactory) -> MiniwebConfig:
    """A finished build of everything, of a few samples each."""
    config = tiny_config(tmp_path_factory.mktemp("miniweb") / "data")
    build(config)
    return config
