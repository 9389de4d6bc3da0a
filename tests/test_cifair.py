"""ciFAIR-10 and GEM's parts of it, from miniatures in the files of the real ones."""

import pickle
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from trainables.data.sources import SOURCES, cifair
from trainables.data.sources.cifar import CIFAR10
from trainables.data.views import View
from trainables.errors import ConfigError

SIZE = 300  # images a batch: 5 x 300 are 150 a class
NAMES = [f"class {k}" for k in range(10)]


def batch(labels: list[int], pixel: int) -> bytes:
    pixels = np.full((len(labels), 3072), pixel, np.uint8)
    return pickle.dumps({"data": pixels, "labels": labels}, protocol=2)


LABELS = np.random.default_rng(0).permutation(np.arange(5 * SIZE) % 10)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a whole ciFAIR-10; the published checksums are its own."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path))
    contents = [batch(part.tolist(), i) for i, part in enumerate(np.split(LABELS, 5))]
    contents += [batch([3, 1, 2], 99), pickle.dumps({"label_names": NAMES}, protocol=2)]
    (tmp_path / "ciFAIR-10").mkdir()
    for name, content in zip(cifair.CHECKSUMS, contents, strict=True):
        (tmp_path / "ciFAIR-10" / name).write_bytes(content)
        monkeypatch.setitem(cifair.CHECKSUMS, name, md5(content).hexdigest())
    return tmp_path


def test_its_files_are_those_of_cifar10_but_for_the_test_images() -> None:
    assert list(cifair.CHECKSUMS) == list(CIFAR10)
    differ = {name for name, value in cifair.CHECKSUMS.items() if value != CIFAR10[name]}
    assert differ == {"test_batch"}


def test_the_whole_set_is_read_in_the_order_of_its_batches(root: Path) -> None:
    source = SOURCES["cifair10"]()
    assert source.images.shape == (1500, 3, 32, 32)
    assert source.images[:, 0, 0, 0].tolist() == np.repeat(range(5), SIZE).tolist()
    assert source.labels.tolist() == LABELS.tolist()
    assert source.test_labels.tolist() == [3, 1, 2]
    assert (source.test_images == 99).all()
    assert source.classes == tuple(NAMES)
    assert source.view == View(pixels=4, flip=True, reflect=True)
    assert (source.strong.view, source.strong.policy) == (source.view, True)
    assert source.validation is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_of_gems_is_the_next_fifty_of_each_class(number: int, root: Path) -> None:
    seen = np.array([(LABELS[:i] == label).sum() for i, label in enumerate(LABELS)])
    rows = np.flatnonzero(seen // 50 == number)
    source = SOURCES[f"cifair10-gem{number}"]()
    np.testing.assert_array_equal(source.labels, LABELS[rows])
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], rows // SIZE)
    assert np.bincount(source.labels).tolist() == [50] * 10
    assert source.validation is not None
    np.testing.assert_array_equal(source.validation, np.flatnonzero(seen[rows] % 50 >= 30))
    assert np.bincount(source.labels[source.validation]).tolist() == [20] * 10
    assert source.test_labels.tolist() == [3, 1, 2]


def test_cifar10_alone_will_not_do(root: Path) -> None:
    (root / "ciFAIR-10").rename(root / "cifar-10-batches-py")
    with pytest.raises(ConfigError) as error:
        SOURCES["cifair10"]()
    text = str(error.value)
    assert "\n" not in text
    assert f"{root}/ciFAIR-10" in text
    assert "the replaced images are in ciFAIR's test_batch only" in text
    assert "https://github.com/cvjena/cifair/releases/download/v1.0/ciFAIR-10.zip" in text


def test_the_test_images_of_cifar10_are_refused(root: Path) -> None:
    (root / "ciFAIR-10" / "test_batch").write_bytes(batch([3, 1, 2], 98))
    with pytest.raises(ConfigError, match=r"ciFAIR-10/test_batch: .* md5"):
        SOURCES["cifair10"]()


@pytest.mark.parametrize("folder", ["", "cifair", "ciFAIR-10", "meta"])
def test_rows_that_repeat_training_images_are_listed_once(folder: str, root: Path) -> None:
    (root / folder).mkdir(exist_ok=True)
    text = "TestID,TrainID,Distance,Judgment\n9,1,0.1,1\n4,7,0.0,0\n9,2,0.2,2\n"
    (root / folder / "duplicates_cifar10.csv").write_text(text)
    assert cifair.duplicates().tolist() == [4, 9]


@pytest.mark.parametrize("text", ["TestID\nx\n", "A,B\n1,2\n", "TestID,B\n1,2\n\n,3\n", "\x00"])
def test_another_list_is_refused(text: str, root: Path) -> None:
    (root / "duplicates_cifar10.csv").write_text(text)
    with pytest.raises(ConfigError, match="no whole number in the column TestID") as error:
        cifair.duplicates()
    assert "\n" not in str(error.value)


def test_a_missing_list_tells_where_it_was_looked_for(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"duplicates_cifar10.csv: is not in .*\(put the one"
    ) as e:
        cifair.duplicates()
    assert str(root) in str(e.value)
