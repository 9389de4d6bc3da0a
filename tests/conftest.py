"""What every test shares: a data cache of its own, one thread, and a toy method."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toys import Follower, small

from trainables.data.dataset import Dataset
from trainables.methods import METHODS
from trainables.methods.base import Method


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
    items[:] = [item for item in items if not item.get_closest_marker("gpu")]


@pytest.fixture(scope="session", autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache, and leave the other cores alone."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISETUNE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def data(_alone: None) -> Dataset:
    """300 training and 100 validation rows of digits: ten steps an epoch at batch 32."""
    return small()


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> type[Method]:
    """The toy `follower` in METHODS, before the method that stands last there."""
    name, method = next(reversed(METHODS.items()))
    monkeypatch.delitem(METHODS, name)
    monkeypatch.setitem(METHODS, "follower", Follower)
    monkeypatch.setitem(METHODS, name, method)
    return Follower


@pytest.fixture(scope="session")
def ray_env(_alone: None) -> Iterator[dict[str, str]]:
    """The environment of a child process that starts a Ray: nothing of the user's, one thread."""
    short = tempfile.mkdtemp(prefix="nt", dir="/tmp")  # a socket's path holds 107 bytes
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, own.get("PYTHONPATH"))))
    own |= {"RAY_TMPDIR": short, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    yield own  # NOISETUNE_HOME is set by _alone
    shutil.rmtree(short, ignore_errors=True)
