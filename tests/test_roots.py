"""Where original files are looked for, and where arrays larger than memory are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainables.data.noise.matrix import find
from trainables.data.sources import roots
from trainables.errors import ConfigError
from tuning.flags import use_data_root
from tuning.inputs import read_task
from tuning.places import place_of
from tuning.search import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOISETUNE_DATA", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize("given", [None, ""])
def test_without_a_data_root_our_own_is_the_only_one(
    given: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("NOISETUNE_DATA", given)
    assert roots.roots() == [home / "raw"]


def test_the_user_s_data_root_comes_first_and_is_absolute(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISETUNE_DATA", "mine")
    assert roots.roots() == [tmp_path / "mine", home / "raw"]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("none", "no such folder (make it, or name another by --data-root or NOISETUNE_DATA)"),
        ("file", "is not a folder (name the folder that it lies in by"),
    ],
)
def test_a_data_root_that_is_no_folder_is_told(
    place: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path / place))
    with pytest.raises(ConfigError) as error:
        roots.roots()
    assert str(error.value).startswith(f"data root {tmp_path / place}: {told}")


def test_a_home_folder_of_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "~nobody-of-this-name/x"
    cure = "no home folder ~nobody-of-this-name is known (write the path in full, from /)"
    monkeypatch.setenv("NOISETUNE_DATA", text)
    with pytest.raises(ConfigError) as error:
        roots.roots()
    assert str(error.value) == f"NOISETUNE_DATA = {text}: {cure}"
    calls: dict[str, Callable[[], object]] = {
        f"--data-root {text}": lambda: use_data_root(text),
        f"--storage {text}": lambda: place_of(text, "--storage"),
        f"--task {text}": lambda: read_task(text),
        f"noise.path = {text}": lambda: find(text),
    }
    for place, call in calls.items():
        with pytest.raises(ConfigError) as error:
            call()
        assert str(error.value) == f"{place}: {cure}"
    assert main(["--resume", text, "--quiet"]) == 2


def test_a_user_without_a_home_must_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert roots.home().name == "home"
    monkeypatch.delenv("NOISETUNE_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"^NOISETUNE_HOME: is not set: no home folder ~ is"):
        roots.roots()


def test_a_data_root_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path))
    monkeypatch.setattr(roots.os, "listdir", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied \(let this user read it") as error:
        roots.roots()
    assert str(tmp_path) in str(error.value)


def test_a_reserved_array_is_an_ordinary_file_once_filled(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    array = roots.reserved(path, (3, 1, 2, 2))
    array[:] = np.arange(12).reshape(3, 1, 2, 2)
    array.flush()
    np.save(tmp_path / "plain.npy", np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2))
    assert path.read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_a_reserved_array_that_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large"):
        roots.reserved(tmp_path / "images.npy", (1 << 40, 3, 224, 224))
