"""The cache: written whole and once, mapped by all, with test labels apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import run_python

from trainables.config import Config
from trainables.data import cache
from trainables.data.cache import open_data
from trainables.data.dataset import Dataset, prepare, probe_images
from trainables.data.sources import SOURCES, Source
from trainables.data.views import STILL
from trainables.errors import ConfigError


def toy(test_label: int = 0) -> Source:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    return Source(
        images=images,
        labels=np.array([0, 1, 0]),
        test_images=images[:2] + 100,
        test_labels=np.array([test_label, 1]),
        classes=("a", "b"),
        view=STILL,
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a source named toy."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(SOURCES, "toy", toy)
    return tmp_path / "home"


def files(folder: Path) -> dict[str, int]:
    """Every file below a folder with the time of its last change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_second_opening_maps_what_the_first_wrote(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_data("toy")
    written = files(home)
    monkeypatch.delitem(SOURCES, "toy")
    second = open_data("toy")
    assert files(home) == written
    assert (first.address, first.mean, first.std) == (second.address, second.mean, second.std)
    for data in (first, second):
        for array in (data.images, data.labels, data.test_images):
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
    np.testing.assert_array_equal(second.images, toy().images)
    np.testing.assert_array_equal(second.labels, [0, 1, 0])
    np.testing.assert_array_equal(probe_images("toy"), toy().test_images)
    assert second.mean == pytest.approx(toy().images.mean((0, 2, 3)) / 255)
    assert sorted(written) == sorted(
        [f"data/{first.address}/{name}.npy" for name in ("images", "labels", "test_images")]
        + ["data/toy.json", "sealed/toy.npy"]
    )


WRITER = """
import os, time
import numpy as np
from trainables.data import cache, sources
from trainables.data.views import View

def toy():
    with open(os.environ["LOG"], "a") as log:
        log.write("read\\n")
    time.sleep(0.5)
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    labels = np.array([0, 1, 0])
    return sources.Source(images, labels, images[:2] + 100, np.array([0, 1]), ("a", "b"), View())

def dying(path, array, save=cache._save):
    if os.environ["DIE"] in str(path):
        with open(path, "wb") as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
    save(path, array)

sources.SOURCES["toy"] = toy
if os.environ["DIE"]:
    cache._save = dying
print(cache.open_data("toy").address)
"""


def test_two_processes_at_once_write_once(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [run_python(WRITER, LOG=str(log), DIE="") for _ in range(2)]
    told = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in told] == [f"{open_data('toy').address}\n"] * 2, told
    assert log.read_text() == "read\n"


@pytest.mark.parametrize("where", ["/images.npy", "/test_images.npy", "/sealed/"])
def test_a_writer_killed_half_way_is_survived(where: str, home: Path, tmp_path: Path) -> None:
    process = run_python(WRITER, LOG=str(tmp_path / "log"), DIE=where)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert not (home / "data" / "toy.json").exists()
    data = open_data("toy")
    np.testing.assert_array_equal(data.images, toy().images)
    np.testing.assert_array_equal(np.load(home / "sealed" / "toy.npy"), [0, 1])
    assert not [path for path in home.rglob("*") if "draft" in path.name]


@pytest.mark.parametrize("text", ["", "{", '{"format": 0, "address": "."}'])
def test_a_damaged_or_older_entry_is_written_anew(text: str, home: Path) -> None:
    address = open_data("toy").address
    (home / "data" / "toy.json").write_text(text)
    assert open_data("toy").address == address


def test_a_home_that_cannot_be_written_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"set NOISETUNE_HOME to a folder that can be") as told:
        open_data("toy")
    assert str(tmp_path / "file" / "home") in str(told.value)
    assert "\n" not in str(told.value)


def test_a_full_disk_is_told_and_leaves_no_entry(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_save", full)
        with pytest.raises(ConfigError, match="No space left"):
            open_data("toy")
    assert len(open_data("toy").labels) == 3


def same(one: Dataset, other: Dataset) -> bool:
    arrays = ("images", "given", "clean", "train", "validation")
    plain = ("mean", "std", "view", "classes", "address")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and all(getattr(one, name) == getattr(other, name) for name in plain)
        and one.noise.hash == other.noise.hash
    )


def test_test_labels_change_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Config.parse({"data": "toy"}).task
    before = prepare(task)
    sealed = home / "sealed" / "toy.npy"
    np.save(sealed, np.array([7, 7]))
    assert same(prepare(task), before)
    sealed.unlink()
    assert same(prepare(task), before)
    # nor do they when they differ at the source
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "other"))
    monkeypatch.setitem(SOURCES, "toy", lambda: toy(test_label=1))
    assert same(prepare(task), before)
    assert np.load(tmp_path / "other" / "sealed" / "toy.npy").tolist() == [1, 1]


def test_other_images_have_another_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def brighter() -> Source:
        images = toy().images.copy()
        images[0, 0, 0, 0] += 1
        return Source(images, toy().labels, toy().test_images, toy().test_labels, ("a", "b"), STILL)

    monkeypatch.setitem(SOURCES, "brighter", brighter)
    assert open_data("toy").address != open_data("brighter").address
