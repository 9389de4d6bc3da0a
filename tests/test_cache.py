"""The cache: written whole and once, mapped by all, with test labels apart."""

import errno
import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toys import run_python

from trainables.config import Config
from trainables.data import arrays, cache
from trainables.data.cache import cached, open_data
from trainables.data.dataset import Dataset, prepare, probe_images
from trainables.data.meter import Meter
from trainables.data.sources import SOURCES, Source
from trainables.data.sources.roots import draft, reserved
from trainables.data.strong import Strong
from trainables.data.views import STILL, View
from trainables.errors import ConfigError

STRONG = Strong(View(1, flip=True), policy=True, degrees=7.5, cutout=2, hole=(3, 255))


def toy(test_label: int = 0) -> Source:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    return Source(
        images=images,
        labels=np.array([0, 1, 0]),
        test_images=images[:2] + 100,
        test_labels=np.array([test_label, 1]),
        classes=("a", "b"),
        view=STILL,
        strong=STRONG,
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


def drafts(folder: Path) -> list[Path]:
    """What a writer left half-written."""
    return [path for path in folder.rglob("*") if "draft" in path.name]


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


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
    assert (second.view, second.strong) == (STILL, STRONG)
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

def dying(path, array, looks=(), save=cache.save):
    if os.environ["DIE"] in str(path):
        with open(path, "wb") as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
    return save(path, array, looks)

sources.SOURCES["toy"] = toy
if os.environ["DIE"]:
    cache.save = dying
print(cache.open_data("toy").address)
"""


def test_two_processes_at_once_write_once(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [run_python(WRITER, LOG=str(log), DIE="") for _ in range(2)]
    told = [process.communicate(timeout=300) for process in processes]
    assert [out for out, _ in told] == [f"{open_data('toy').address}\n"] * 2, told
    assert log.read_text() == "read\n"


@pytest.mark.parametrize("where", ["/images.npy", "/test_images.npy", "/test_labels.npy"])
def test_a_writer_killed_half_way_is_survived(where: str, home: Path, tmp_path: Path) -> None:
    process = run_python(WRITER, LOG=str(tmp_path / "log"), DIE=where)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 9, err
    assert not (home / "data" / "toy.json").exists()
    data = open_data("toy")
    np.testing.assert_array_equal(data.images, toy().images)
    np.testing.assert_array_equal(np.load(home / "sealed" / "toy.npy"), [0, 1])
    assert drafts(home) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"format": 0, "address": "."}',
        '{"format": 4, "address": "."}',
        '{"format": 4, "address": 1, "files": []}',
        '{"format": 4, "address": ' + "[" * 10_000,
        b"\xff\xfe",
    ],
)
def test_a_damaged_or_older_entry_is_written_anew(text: str | bytes, home: Path) -> None:
    address = open_data("toy").address
    (home / "data" / "toy.json").write_bytes(text.encode() if isinstance(text, str) else text)
    assert open_data("toy").address == address


SHA = "0" * 64
MOVED = {
    "view": {"pixels": 1, "flip": True, "reflect": False},
    "policy": True,
    "degrees": 7.5,
    "cutout": 2,
    "hole": [3, 255],
}
WRONG_MOVES: list[dict[str, Any]] = [
    {"view": None},
    {"view": {"pixels": -1, "flip": False, "reflect": False}},
    {"view": {"pixels": 1, "flip": False}},
    {"policy": 1},
    {"policy": "cifar10"},
    {"degrees": -1.0},
    {"degrees": 181.0},
    {"degrees": float("nan")},
    {"degrees": "7.5"},
    {"cutout": -1},
    {"cutout": 2.5},
    {"cutout": None},
    {"hole": 0},
    {"hole": []},
    {"hole": [256]},
    {"hole": [-1]},
    {"hole": [0, 0, 0]},
    {"spin": True},
]
WRONG = [
    {"address": "../../../etc"},
    {"address": "../../../etc", "files": {}},
    {"address": SHA + "\n"},
    {"address": SHA.replace("0", "A")},
    {"address": None},
    {"files": {}},
    {"files": None},
    {"files": {"images.npy": {"size": 1, "sha256": SHA}}},
    {"files": {f"../{name}.npy": {"size": 1, "sha256": SHA} for name in "abc"}},
    {"files": {f"{name}.npy": {"size": "1", "sha256": 1} for name in cache.ARRAYS}},
    {"classes": None},
    {"classes": []},
    {"classes": "ab"},
    {"classes": ["a", 1]},
    {"mean": None},
    {"mean": ["0.5", "0.5"]},
    {"mean": [0.5]},
    {"std": [0.5, None]},
    {"std": [0.5, float("nan")]},
    {"view": None},
    {"view": {}},
    {"view": {"pixels": "1", "flip": False, "reflect": False}},
    {"view": {"pixels": -1, "flip": False, "reflect": False}},
    {"view": {"pixels": 1, "flip": False}},
    {"view": {"pixels": 1, "flip": False, "reflect": False, "spin": True}},
    {"strong": None},
    {"strong": {}},
    *[{"strong": MOVED | wrong} for wrong in WRONG_MOVES],
    *[{"strong": {key: MOVED[key] for key in MOVED if key != gone}} for gone in MOVED],
    {"validation": 7},
    {"validation": [0.5]},
    {"validation": [-1]},
    {"validation": [2**70]},
    {"more": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: json.dumps(wrong)[:60])
def test_an_entry_of_wrong_facts_is_damaged_and_written_anew(
    wrong: dict[str, Any], home: Path
) -> None:
    first, about = open_data("toy"), home / "data" / "toy.json"
    whole = json.loads(about.read_text())
    about.write_text(json.dumps(whole | wrong))
    assert cache.verify("toy") == [f"{about}: is damaged"]
    again = open_data("toy")
    assert (again.address, again.classes, again.view) == (first.address, first.classes, first.view)
    assert again.strong == STRONG
    assert json.loads(about.read_text()) == whole


@pytest.mark.parametrize(
    "fact", ["address", "classes", "mean", "std", "view", "strong", "validation"]
)
def test_an_entry_that_lacks_a_fact_is_damaged(fact: str, home: Path) -> None:
    open_data("toy")
    about = home / "data" / "toy.json"
    facts = json.loads(about.read_text())
    del facts[fact]
    about.write_text(json.dumps(facts))
    assert cache.verify("toy") == [f"{about}: is damaged"]


def test_validation_positions_come_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "toy", lambda: replace(toy(), validation=np.array([2, 0])))
    for _ in range(2):
        validation = open_data("toy").validation
        assert validation is not None
        assert validation.tolist() == [2, 0]
        assert validation.dtype == np.int64


def test_a_home_that_cannot_be_written_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"set NOISETUNE_HOME to a folder that can be") as told:
        open_data("toy")
    assert str(tmp_path / "file" / "home") in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("where", ["images.npy", "labels.npy", "test_labels.npy"])
def test_a_failing_disk_is_told_and_leaves_nothing(
    where: str, number: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, array: Any, looks: Any = ()) -> Any:
        if path.name == where:
            path.write_text("half")
            raise OSError(number, os.strerror(number))
        return arrays.save(path, array, looks)

    with monkeypatch.context() as patch:
        patch.setattr(cache, "save", failing)
        with pytest.raises(ConfigError, match=os.strerror(number)) as told:
            open_data("toy")
    room = "a folder with more room" in str(told.value)
    assert room is (number != errno.EIO)
    assert ("(ulimit -f)" in str(told.value)) is (number == errno.EFBIG)
    assert files(home) == {}
    assert drafts(home) == []
    assert len(open_data("toy").labels) == 3


def test_too_small_a_disk_is_told_before_anything_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ConfigError, match="0 MiB needed, 0 free; free some room there, or set"):
        open_data("toy")
    assert files(home) == {}


def test_a_source_s_own_failure_is_not_the_cache_s(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Source:
        raise FileNotFoundError(2, "No such file or directory", "/x/images")

    monkeypatch.setitem(SOURCES, "toy", broken)
    with pytest.raises(ConfigError, match=r"^data toy: .*No such file or directory: '/x/images'$"):
        open_data("toy")
    assert drafts(home) == []


# Damage


def test_a_truncated_array_is_written_anew(home: Path) -> None:
    first = open_data("toy")
    images = home / "data" / first.address / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    assert open_data("toy").address == first.address
    np.testing.assert_array_equal(open_data("toy").images, toy().images)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_array_whose_source_is_gone_is_told(
    damage: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Source:
        raise ConfigError("data toy: is not in /x")

    images = home / "data" / open_data("toy").address / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    if damage == "gone":
        images.unlink()
    monkeypatch.setitem(SOURCES, "toy", gone)
    flaw = "has 151 bytes, not 152" if damage == "cut" else "is not there"
    with pytest.raises(ConfigError) as told:
        open_data("toy")
    assert str(told.value) == f"{images}: {flaw}; to write it anew: data toy: is not in /x"
    assert drafts(home) == []


def test_a_header_that_was_overwritten_is_told(home: Path) -> None:
    images = home / "data" / open_data("toy").address / "images.npy"
    images.write_bytes(bytes(images.stat().st_size))
    with pytest.raises(ConfigError, match=r"\(remove .*toy.json: it is written anew\)"):
        open_data("toy")


def test_verifying_reads_every_byte(home: Path) -> None:
    assert cached() == []
    assert "is not there" in cache.verify("toy")[0]
    images = home / "data" / open_data("toy").address / "images.npy"
    assert cached() == ["toy"]
    assert cache.verify("toy") == []
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    open_data("toy")  # its size is right
    cure = f"(remove {home / 'data' / 'toy.json'}: it is written anew)"
    assert cache.verify("toy") == [f"{images}: was altered, its checksum is another {cure}"]
    (home / "data" / "toy.json").unlink()
    np.testing.assert_array_equal(open_data("toy").images, toy().images)
    assert cache.verify("toy") == []
    (home / "sealed" / "toy.npy").unlink()
    assert cache.verify("toy") == [f"{home / 'sealed' / 'toy.npy'}: is not there {cure}"]


def test_verifying_reads_no_test_label(home: Path) -> None:
    open_data("toy")
    (home / "sealed" / "toy.npy").write_bytes(b"garbage")
    assert cache.verify("toy") == []


def test_two_names_of_one_set_share_its_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "alias", toy)
    first = open_data("toy")
    kept = files(home / "data" / first.address)
    assert open_data("alias").address == first.address
    assert files(home / "data" / first.address) == kept


def test_two_names_of_one_set_written_at_once_are_both_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other name's arrays appear when ours are about to take the place of damaged ones."""
    monkeypatch.setitem(SOURCES, "alias", toy)
    images = home / "data" / open_data("toy").address / "images.npy"
    images.write_bytes(b"half")

    def removed(folder: Path, ignore_errors: bool = False) -> None:
        rmtree(folder, ignore_errors=ignore_errors)
        if folder == images.parent:
            monkeypatch.setattr(shutil, "rmtree", rmtree)
            open_data("toy")

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", removed)
    np.testing.assert_array_equal(open_data("alias").images, toy().images)
    assert cache.verify("alias") == cache.verify("toy") == []
    assert drafts(home) == []


def test_a_folder_that_stays_full_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = home / "data" / open_data("toy").address / "images.npy"
    images.write_bytes(b"half")
    rmtree = shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda folder, **how: folder == images.parent or rmtree(folder, **how)
    )
    with pytest.raises(ConfigError, match=r"Directory not empty; set NOISETUNE_HOME"):
        open_data("toy")


# Large sources


def test_a_source_may_fill_the_draft_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large() -> Source:
        images = reserved(draft("large") / "images.npy", (3, 2, 2, 2))
        images[:] = toy().images
        return replace(toy(), images=images)

    monkeypatch.setitem(SOURCES, "large", large)
    plain, own = open_data("toy"), open_data("large")
    assert own.address == plain.address
    assert (own.mean, own.std) == (plain.mean, plain.std)
    assert cache.verify("large") == []
    assert drafts(home) == []


def test_a_source_that_fills_its_disk_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large() -> Source:
        reserved(draft("toy") / "labels.npy", (3,))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(SOURCES, "toy", large)
    with pytest.raises(ConfigError, match="No space left on device; free some room there"):
        open_data("toy")
    assert drafts(home) == []


def test_a_map_elsewhere_is_copied_in_parts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "large.npy", np.concatenate([toy().images] * 3))
    images = np.load(tmp_path / "large.npy", mmap_mode="r")[3:6]
    monkeypatch.setattr(arrays, "PART", 9)  # bytes: a row at a time
    monkeypatch.setitem(SOURCES, "large", lambda: replace(toy(), images=images))
    whole = open_data("large")
    monkeypatch.undo()
    monkeypatch.setenv("NOISETUNE_HOME", str(home))
    monkeypatch.setitem(SOURCES, "toy", toy)
    assert whole.address == open_data("toy").address


def test_levels_are_exact_whatever_the_parts() -> None:
    images = np.random.default_rng(0).integers(256, size=(50, 3, 4, 4), dtype=np.uint8)
    levels = arrays.Levels(3)
    for part in np.split(images, [1, 20]):
        levels.add(part)
    np.testing.assert_allclose(levels.mean(), (images / 255).mean((0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(levels.std(), (images / 255).std((0, 2, 3)), rtol=1e-13)


def test_work_that_takes_long_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("quick", 2) as quick:
        quick.add(1)
    with Meter("slow", 3) as slow:
        slow._start -= 2
        for _ in range(3):
            slow.add(1)
    assert capsys.readouterr().err == "slow ...\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Meter("slow", 4) as slow:
        slow._start -= 2
        slow.add(2)
        slow.add(1)
    assert "slow" in terminal.getvalue()


# Test labels


def same(one: Dataset, other: Dataset) -> bool:
    arrays = ("images", "given", "clean", "train", "validation")
    plain = ("mean", "std", "view", "strong", "classes", "address")
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
