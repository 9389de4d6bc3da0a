"""Noise, splits, the cache and the views."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import Config
from trainables.data import cache
from trainables.data.cache import open_data
from trainables.data.dataset import Dataset, prepare, probe_images
from trainables.data.noise import NOISES, corrupt
from trainables.data.sources import SOURCES, Source, digits
from trainables.data.split import stratified
from trainables.data.views import shifted
from trainables.errors import ConfigError

K = 10
CLEAN = np.arange(20_000) % K
ROOT = Path(__file__).parent.parent


# Noise


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("symmetric", lambda rate: [1 - rate] + [rate / (K - 1)] * (K - 1)),
        (
            "symmetric-inclusive",
            lambda rate: [1 - rate + rate / K] + [rate / K] * (K - 1),
        ),
        ("pairflip", lambda rate: [1 - rate, rate] + [0] * (K - 2)),
        ("none", lambda rate: [1] + [0] * (K - 1)),
    ],
)
def test_realised_transitions(kind: str, row: Any, rate: float) -> None:
    noise = corrupt(CLEAN, K, kind, rate, seed=1)
    # row c of the matrix, turned so that the clean class stands first
    expected = np.array(row(rate))
    turned = np.stack([np.roll(counts, -c) for c, counts in enumerate(noise.transitions)])
    size = len(CLEAN) // K
    deviation = np.sqrt(expected * (1 - expected) / size)
    assert (turned.sum(1) == size).all()
    assert (np.abs(turned / size - expected) <= 4 * deviation).all()
    flipped = 1 - expected[0]
    deviation = np.sqrt(flipped * (1 - flipped) / len(CLEAN))
    assert abs(noise.rate - flipped) <= 4 * deviation
    assert noise.rate == (noise.labels != CLEAN).mean()
    assert noise.labels.dtype == np.int64


def test_the_numbers_told_are_those_of_the_labels() -> None:
    noise = corrupt(CLEAN, K, "symmetric", 0.4, seed=0)
    for clean, given in ((0, 0), (3, 7), (9, 1)):
        count = ((clean == CLEAN) & (noise.labels == given)).sum()
        assert noise.transitions[clean, given] == count
    assert noise.hash == hashlib.sha256(noise.labels.astype("<i8").tobytes()).hexdigest()


def test_pairflip_moves_each_class_by_one() -> None:
    noise = corrupt(CLEAN, K, "pairflip", 0.5, seed=0)
    moved = noise.labels != CLEAN
    np.testing.assert_array_equal(noise.labels[moved], (CLEAN[moved] + 1) % K)


@pytest.mark.parametrize("kind", NOISES)
def test_a_higher_rate_flips_more_of_the_same(kind: str) -> None:
    low, high = (corrupt(CLEAN, K, kind, rate, seed=3).labels for rate in (0.2, 0.5))
    moved = low != CLEAN
    np.testing.assert_array_equal(low[moved], high[moved])


@pytest.mark.parametrize("kind", ["symmetric", "symmetric-inclusive", "pairflip"])
def test_another_seed_flips_others(kind: str) -> None:
    first, again, other = (corrupt(CLEAN, K, kind, 0.4, seed).labels for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 0.4 < ((first != CLEAN) != (other != CLEAN)).mean() < 0.6  # 2 .4 .6 of independent flips


def test_corrupting_leaves_the_clean_labels_alone() -> None:
    clean = CLEAN.copy()
    for kind in NOISES:
        noise = corrupt(clean, K, kind, 0.5, seed=0)
        noise.labels[:] = -1
        np.testing.assert_array_equal(clean, CLEAN)


GOLDEN = {
    "symmetric": "eab0d0b69e514f23406cef6ffa0642855bb827d488b056c9ca6c045a21cbdfe1",
    "symmetric-inclusive": "164a1d62e3f487d2882b00b0007ca327858ab626e7f1a3bdff52cb67c3b03c22",
    "pairflip": "4ef00c514f2742e2a8d9ab8e5f9a9650bc841a8fc746cd97018735dccbcb9f62",
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_labels_are_the_same_on_every_machine(kind: str) -> None:
    assert corrupt(CLEAN, K, kind, 0.4, seed=0).hash == GOLDEN[kind]


def run_python(code: str, **environment: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)


def test_labels_and_splits_are_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from trainables.data.noise import corrupt\n"
        "from trainables.data.split import stratified\n"
        "noise = corrupt(np.arange(20_000) % 10, 10, 'symmetric', 0.4, 0)\n"
        "print(noise.hash, stratified(noise.labels, 0.1, 0, 'x')[1].sum())"
    )
    here = corrupt(CLEAN, K, "symmetric", 0.4, seed=0)
    expected = f"{here.hash} {stratified(here.labels, 0.1, 0, 'x')[1].sum()}\n"
    for seed in ("1", "2"):
        out, err = run_python(code, PYTHONHASHSEED=seed).communicate(timeout=60)
        assert out == expected, err


# Splits


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_splits_share_every_class_and_lose_nothing(share: float) -> None:
    labels = np.repeat([0, 3, 4, 7], [10, 101, 57, 1])
    first, second = stratified(labels, share, seed=0, name="x")
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert len(second) == round(share * len(labels))
    for label in np.unique(labels):
        size = (labels == label).sum()
        assert abs((labels[second] == label).sum() - share * size) < 1
    for part in (first, second):
        assert (np.diff(part) > 0).all()


def test_a_split_follows_seed_and_name() -> None:
    drawn = {
        tuple(stratified(CLEAN[:200], 0.25, seed, name)[1])
        for seed in (0, 1)
        for name in ("a", "b")
        for _ in range(2)
    }
    assert len(drawn) == 4


def test_every_row_is_as_likely_to_be_chosen() -> None:
    counts = np.zeros(20)
    for seed in range(1000):
        counts[stratified(CLEAN[:20], 0.5, seed, "x")[1]] += 1
    assert (np.abs(counts - 500) < 4 * np.sqrt(250)).all()


# Digits


def test_digits_are_those_of_scikit_learn() -> None:
    data, source = open_data("digits"), digits()
    assert data.images.shape == (1438, 1, 8, 8)
    assert data.test_images.shape == (359, 1, 8, 8)
    assert data.images.dtype == np.uint8
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.classes == tuple("0123456789")
    np.testing.assert_array_equal(data.labels, source.labels)
    for labels, size in ((source.labels, 1438), (source.test_labels, 359)):
        assert np.bincount(labels).sum() == size
        assert np.ptp(np.bincount(labels)) <= 10
    assert data.mean == pytest.approx([(source.images / 255).mean()])
    assert data.std == pytest.approx([(source.images / 255).std()])


def test_a_task_is_noise_first_then_a_split_by_the_given_labels() -> None:
    data = prepare(Config.parse({"noise": {"rate": 0.4}, "augment": True}).task)
    assert (len(data.train), len(data.validation)) == (1078, 360)
    assert not set(data.train) & set(data.validation)
    given = data.given.numpy()
    assert (given != data.clean.numpy()).mean() == data.noise.rate == pytest.approx(0.4, abs=0.05)
    share = np.bincount(given[data.validation]) / np.bincount(given)
    np.testing.assert_allclose(share, 0.25, atol=0.01)
    assert data.shift == 1
    still = prepare(Config.parse({}).task)
    assert (still.shift, still.noise.hash) == (0, data.noise.hash)
    other = prepare(Config.parse({"split": {"seed": 1}}).task)
    assert other.noise.hash == data.noise.hash
    assert set(other.validation) != set(data.validation)


# The cache


def toy(test_label: int = 0) -> Source:
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    return Source(
        images=images,
        labels=np.array([0, 1, 0]),
        test_images=images[:2] + 100,
        test_labels=np.array([test_label, 1]),
        classes=("a", "b"),
        shift=1,
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

def toy():
    with open(os.environ["LOG"], "a") as log:
        log.write("read\\n")
    time.sleep(0.5)
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    labels = np.array([0, 1, 0])
    return sources.Source(images, labels, images[:2] + 100, np.array([0, 1]), ("a", "b"), 1)

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
    plain = ("mean", "std", "shift", "classes", "address")
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
        return Source(images, toy().labels, toy().test_images, toy().test_labels, ("a", "b"), 1)

    monkeypatch.setitem(SOURCES, "brighter", brighter)
    assert open_data("toy").address != open_data("brighter").address


# Views

# [[1, 2], [3, 4]] seen through a window that is `rows` lower and `columns` further right
MOVES = {
    (-1, -1): (0, 0, 0, 1),
    (-1, 0): (0, 0, 1, 2),
    (-1, 1): (0, 0, 2, 0),
    (0, -1): (0, 1, 0, 3),
    (0, 0): (1, 2, 3, 4),
    (0, 1): (2, 0, 4, 0),
    (1, -1): (0, 3, 0, 0),
    (1, 0): (3, 4, 0, 0),
    (1, 1): (4, 0, 0, 0),
}


def moved(count: int, pixels: int = 1) -> list[tuple[int, ...]]:
    """Views of one small image of two channels, the second ten times the first."""
    image = torch.tensor([[[1, 2], [3, 4]], [[10, 20], [30, 40]]], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    views = shifted(image.expand(count, -1, -1, -1), pixels, generator)
    assert views.shape == (count, 2, 2, 2)
    assert views.dtype == torch.uint8
    assert torch.equal(views[:, 1], 10 * views[:, 0])  # channels move together
    return [tuple(view) for view in views[:, 0].flatten(1).tolist()]


def test_every_move_is_made_and_equally_often() -> None:
    counts = Counter(moved(9000))
    assert set(counts) == set(MOVES.values())
    chi = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi < 30  # 8 degrees of freedom: exceeded once in 5,000 seeds


def test_neighbours_in_a_batch_move_independently() -> None:
    views = moved(16_200)
    pairs = Counter(zip(views[::2], views[1::2], strict=True))
    assert len(pairs) == 81
    assert sum((count - 100) ** 2 / 100 for count in pairs.values()) < 140  # 80 degrees of freedom


def test_a_batch_of_different_images_keeps_its_order() -> None:
    images = torch.arange(1, 101, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 3, 5)
    views = shifted(images, 1, torch.Generator().manual_seed(0))
    centre = views[:, 0, 1, 1:4]  # a move by one leaves the middle inside
    assert (centre == images[:, 0, 1, 1:4]).all()
    assert (views[:, 0, 0, 0] == 0).float().mean() == pytest.approx(5 / 9, abs=0.2)


def test_no_move_is_a_copy() -> None:
    images = torch.ones(2, 1, 2, 2)
    views = shifted(images, 0, torch.Generator())
    views[:] = 5
    assert (images == 1).all()


def test_larger_moves_stay_within_their_bounds() -> None:
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1
    views = shifted(image.expand(4000, -1, -1, -1), 2, torch.Generator().manual_seed(0))
    seen = views[:, 0].sum(0)
    assert (seen[1:6, 1:6] > 0).all()
    assert seen.sum() == seen[1:6, 1:6].sum() == 4000
