"""Sources: what reading a data set yields. Those of the network are read from miniatures."""

import gzip
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from toys import run_python

from trainables.data.cache import open_data
from trainables.data.sources import SOURCES, originals
from trainables.data.sources.cifar import CIFAR10, CIFAR100, STRONG
from trainables.data.sources.digits import digits
from trainables.data.sources.idx import CLOTHES, FASHION_MNIST, MNIST
from trainables.data.strong import Strong
from trainables.data.views import View
from trainables.errors import ConfigError

TABLES = {"mnist": MNIST, "fashion-mnist": FASHION_MNIST, "cifar10": CIFAR10, "cifar100": CIFAR100}
FOLDERS = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
}
PUBLISHED = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
NAMES = list(TABLES)


def idx(*shape: int, start: int = 0) -> bytes:
    """A file of LeCun's format that counts from `start`."""
    head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return head + bytes(range(start, start + int(np.prod(shape))))


def batch(key: str, *labels: int) -> bytes:
    pixels = np.full((len(labels), 3072), labels[0], np.uint8)
    return pickle.dumps({"data": pixels, key: list(labels)}, protocol=2)


def miniature(name: str) -> dict[str, bytes]:
    """A data set of few images, in the files of the real one."""
    table = list(TABLES[name])
    if "mnist" in name:
        return dict(
            zip(table, [idx(3, 2, 2), idx(3), idx(2, 2, 2, start=100), idx(2)], strict=True)
        )
    if name == "cifar10":
        contents = [batch("labels", 2 * k, 2 * k + 1) for k in range(5)] + [batch("labels", 9, 8)]
        meta = {"label_names": [f"class {k}" for k in range(10)]}
    else:
        contents = [batch("fine_labels", 3, 99), batch("fine_labels", 7)]
        meta = {"fine_label_names": [f"class {k}" for k in range(100)]}
    return dict(zip(table, [*contents, pickle.dumps(meta, protocol=2)], strict=True))


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root; the published checksums are those of the miniatures; no network."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path / "root"))
    monkeypatch.setattr("trainables.data.sources.idx.DEBIAN", tmp_path / "debian")
    for name, table in TABLES.items():
        for file, content in miniature(name).items():
            monkeypatch.setitem(table, file, md5(content).hexdigest())
    downloads(monkeypatch, offline)
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def offline(folder: Path) -> None:
    (folder / "half").write_text("half")
    raise URLError(OSError(-2, "Name or service not known"))


def downloads(monkeypatch: pytest.MonkeyPatch, deed: Callable[[Path], None]) -> None:
    """Let all of torchvision's downloads do this."""
    for name in PUBLISHED.values():
        monkeypatch.setattr(f"torchvision.datasets.{name}", lambda folder, download: deed(folder))


def refusal(name: str) -> str:
    with pytest.raises(ConfigError) as error:
        SOURCES[name]()
    assert "\n" not in str(error.value)
    return str(error.value)


def left(root: Path) -> list[str]:
    """Every file below a folder, but locks."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock")


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
    assert data.mean == pytest.approx([(source.images / 255).mean()], abs=1e-14)
    assert data.std == pytest.approx([(source.images / 255).std()], abs=1e-14)


# Reading


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_packed_or_not(name: str, packed: bool, root: Path) -> None:
    files = miniature(name)
    if packed:
        files = {f"{file}.gz": gzip.compress(content) for file, content in files.items()}
    put(root / FOLDERS[name], files)
    source = SOURCES[name]()
    assert source.images.tolist() == np.arange(12).reshape(3, 1, 2, 2).tolist()
    assert source.test_images.tolist() == np.arange(100, 108).reshape(2, 1, 2, 2).tolist()
    assert (source.labels.tolist(), source.test_labels.tolist()) == ([0, 1, 2], [0, 1])
    assert source.labels.dtype == source.test_labels.dtype == np.int64
    assert source.view == View(pixels=2)
    assert source.strong == Strong(View(pixels=2), degrees=15, cutout=8)
    assert source.classes == (CLOTHES if name == "fashion-mnist" else tuple("0123456789"))


def test_cifar_batches_are_read_in_their_order(root: Path) -> None:
    put(root / "cifar-10-batches-py", miniature("cifar10"))
    source = SOURCES["cifar10"]()
    assert source.images.shape == (10, 3, 32, 32)
    assert source.images[:, 2, 31, 31].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    assert source.labels.tolist() == list(range(10))
    assert source.test_labels.tolist() == [9, 8]
    assert source.classes[3] == "class 3"
    assert source.view == View(pixels=4, flip=True)
    hole = (125, 123, 114)
    assert source.strong == Strong(source.view, policy=True, cutout=16, hole=hole)


def test_cifar100_has_its_fine_labels(root: Path) -> None:
    put(root / "cifar-100-python", miniature("cifar100"))
    source = SOURCES["cifar100"]()
    assert (source.labels.tolist(), source.test_labels.tolist()) == ([3, 99], [7])
    assert len(source.classes) == 100
    assert source.strong == replace(STRONG, hole=(129, 124, 112))


def test_our_own_root_serves_what_the_user_s_lacks(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "home/raw/MNIST/raw", miniature("mnist"))
    assert len(SOURCES["mnist"]().images) == 3
    assert left(root) == []


def test_debian_s_package_is_found_by_itself(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOISETUNE_DATA")
    files = {f"{file}.gz": gzip.compress(data) for file, data in miniature("fashion-mnist").items()}
    put(tmp_path / "debian", files)
    assert len(SOURCES["fashion-mnist"]().images) == 3
    assert "MNIST/raw" in refusal("mnist")  # the same file names, another set


# Files that are not the original ones


class Payload:
    """What a stranger's pickle may do when it is loaded: here, make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_of_another_checksum_is_never_run(file: str, root: Path, tmp_path: Path) -> None:
    put(root / "cifar-10-batches-py", miniature("cifar10"))
    path = root / "cifar-10-batches-py" / file
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    assert refusal("cifar10").startswith(f"{path}: cut short or altered: the md5 of its ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0, -1])
def test_a_truncated_file_is_told_and_left_alone(name: str, kept: int, root: Path) -> None:
    put(root / FOLDERS[name], miniature(name))
    path = root / FOLDERS[name] / list(TABLES[name])[-1]
    path.write_bytes(path.read_bytes()[:kept])
    told = refusal(name)
    assert told.startswith(f"{path}: cut short or altered")
    assert "put the original in its place" in told
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"plain", gzip.compress(bytes(99))[:-9]])
def test_a_damaged_gz_is_told(content: bytes, root: Path) -> None:
    put(root / "MNIST/raw", {f"{file}.gz": content for file in MNIST})
    path = root / "MNIST/raw/train-images-idx3-ubyte.gz"
    assert refusal("mnist").startswith(f"{path}: cut short or altered")


def test_a_file_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    put(root / "MNIST/raw", miniature("mnist"))
    monkeypatch.setattr(Path, "read_bytes", refuse)
    path = root / "MNIST/raw/train-images-idx3-ubyte"
    assert refusal("mnist") == f"{path}: Permission denied (let this user read it)"


def test_a_folder_that_cannot_be_looked_into_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert f"Permission denied (let this user read {root / 'MNIST/raw'})" in refusal("mnist")


# Downloads


@pytest.mark.parametrize("name", NAMES)
def test_without_network_it_is_told_what_where_and_how(
    name: str, root: Path, tmp_path: Path
) -> None:
    told = refusal(name)
    assert told.startswith(f"data {name}: is not in {root / FOLDERS[name]} nor in {tmp_path}/home")
    assert "cannot be downloaded (Name or service not known); " in told
    assert "https://" in told
    assert "--data-root or NOISETUNE_DATA" in told
    assert left(root) == []


def test_a_part_of_the_files_is_told_and_kept(root: Path) -> None:
    files = miniature("mnist")
    lacking = files.popitem()[0]
    put(root / "MNIST/raw", files)
    assert f"{root / 'MNIST/raw'} (lacks {lacking}) nor in" in refusal("mnist")
    assert len(left(root)) == 2 + 3


@pytest.mark.parametrize("name", NAMES)
def test_a_download_goes_to_the_user_s_root_once(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def published(folder: Path) -> None:
        calls.append(folder)
        put(folder / FOLDERS[name], miniature(name) | {"archive.tar.gz": b""})

    downloads(monkeypatch, published)
    first, second = SOURCES[name](), SOURCES[name]()
    assert len(calls) == 1
    np.testing.assert_array_equal(first.images, second.images)
    assert {path.split("/")[-1] for path in left(root)} >= set(TABLES[name])
    assert not [path for path in left(root) if "draft" in path or "archive" in path]


def test_a_download_takes_no_file_s_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "MNIST/raw", {"train-images-idx3-ubyte": b"mine"})
    downloads(monkeypatch, lambda folder: put(folder / "MNIST/raw", miniature("mnist")))
    assert "train-images-idx3-ubyte: cut short or altered" in refusal("mnist")
    assert (root / "MNIST/raw/train-images-idx3-ubyte").read_bytes() == b"mine"


def test_a_root_that_cannot_be_written_sends_the_download_home(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads(monkeypatch, lambda folder: put(folder / "MNIST/raw", miniature("mnist")))
    monkeypatch.setattr(originals.os, "access", lambda path, mode: path != root)
    assert len(SOURCES["mnist"]().images) == 3
    assert left(root) == []
    assert (tmp_path / "home/raw/MNIST/raw/train-images-idx3-ubyte").exists()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "(No space left on device)"),
        (RuntimeError("File not found or corrupted."), "(File not found or corrupted.)"),
        (TimeoutError("timed out"), "(timed out)"),
        (EOFError(), "(EOFError)"),
        (
            RuntimeError(
                "Error:\nTried a, got:\n<urlopen error [Errno -2] No name>\nTried b, got:\n"
                "<urlopen error timed out>"
            ),
            "(No name, timed out)",
        ),
    ],
)
def test_any_failed_download_is_one_line(
    error: Exception, told: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        put(folder / "MNIST/raw", {"train-images-idx3-ubyte.gz": b"half"})
        raise error

    downloads(monkeypatch, broken)
    assert told in refusal("mnist")
    assert left(root) == []


DOWNLOADER = """
import os, sys, time
from types import SimpleNamespace
from trainables.data.sources.originals import Originals

def published(folder, download):
    with open(os.environ["LOG"], "a") as log:
        log.write("asked\\n")
    time.sleep(0.5)
    (folder / "toy").mkdir()
    (folder / "toy" / "file").write_bytes(b"")

sys.modules["torchvision"] = SimpleNamespace(datasets=SimpleNamespace(Toy=published))
files = Originals("toy", "toy", {"file": "d41d8cd98f00b204e9800998ecf8427e"}, "Toy", "")
print(files.reader()("file"))
"""


def test_two_processes_download_once(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [run_python(DOWNLOADER, LOG=str(log)) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in processes]
    assert [out for out, _ in told] == ["b''\n"] * 2, told
    assert log.read_text() == "asked\n"


def test_our_tables_are_torchvision_s() -> None:
    from torchvision import datasets

    for name, ours in (("CIFAR10", CIFAR10), ("CIFAR100", CIFAR100)):
        theirs = getattr(datasets, name)
        meta = {theirs.meta["filename"]: theirs.meta["md5"]}
        assert list(ours.items()) == list(
            ({**dict(theirs.train_list + theirs.test_list)} | meta).items()
        )
    for name, table in (("MNIST", MNIST), ("FashionMNIST", FASHION_MNIST)):
        theirs = getattr(datasets, name)
        assert [f"{file}.gz" for file in table] == [file for file, _ in theirs.resources]
    assert tuple(datasets.FashionMNIST.classes) == CLOTHES
    for name, published in PUBLISHED.items():
        folder = getattr(datasets, published)
        expected = getattr(folder, "base_folder", f"{published}/raw")
        assert FOLDERS[name] == expected
