"""Kinds `human` and `file`: labels that somebody published."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainables.config import Config
from trainables.data.noise import corrupt
from trainables.data.noise.base import Clean
from trainables.data.noise.columns import column
from trainables.data.noise.files import CIFAR10, File, Human
from trainables.errors import ConfigError

M, K = 40, 10
OWN = np.arange(M) % K
SETS = {key: (OWN + i) % K for i, key in enumerate(CIFAR10.values())}  # set i moves all i classes
LABELS = (np.arange(M) * 7) % K


def clean(data: str = "cifar10", rows: Any = None, classes: int = K) -> Clean:
    rows = np.arange(M) if rows is None else np.array(rows)
    return Clean(data, OWN[rows], classes, np.zeros((M, 1, 1, 1), np.uint8), rows)


def publish(folder: Path, name: str, arrays: dict[str, Any]) -> None:
    """Write a file of CIFAR-N: a pickle in an archive."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(arrays, 2))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root; the current folder is another one."""
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "root"


def refusal(kind: Human | File, source: Clean) -> str:
    with pytest.raises(ConfigError) as error:
        kind.given(source, 0)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("folder", ["", "cifar-n", "cifarN", "data"])
@pytest.mark.parametrize("data", ["cifar10", "cifair10"])
def test_each_set_is_its_own_labels(data: str, folder: str, root: Path) -> None:
    publish(root / folder, "CIFAR-10_human.pt", {"clean_label": OWN, **SETS})
    for i, name in enumerate(CIFAR10):
        noise = corrupt(clean(data), Human(name), seed=i)  # type: ignore[arg-type]  # a set's name
        np.testing.assert_array_equal(noise.labels, (OWN + i) % K)
        assert noise.rate == (i > 0)
        assert noise.labels.dtype == np.int64


def test_cifar100_has_the_fine_labels(root: Path) -> None:
    arrays = {"clean_label": OWN, "noisy_label": LABELS.tolist(), "noisy_coarse_label": OWN}
    publish(root, "CIFAR-100_human.pt", arrays)
    given = Human("fine").given(clean("cifar100", classes=100), 0)
    np.testing.assert_array_equal(given, LABELS)


def test_a_subset_has_the_labels_of_its_rows(root: Path) -> None:
    publish(root, "CIFAR-10_human.pt", {"clean_label": OWN, **SETS})
    np.savez("labels.npz", LABELS)
    rows = [1, 5, 39]
    np.testing.assert_array_equal(Human("random2").given(clean(rows=rows), 0), (OWN[rows] + 2) % K)
    np.testing.assert_array_equal(File("labels.npz").given(clean(rows=rows), 0), LABELS[rows])


def test_human_labels_of_another_order_are_refused(root: Path) -> None:
    publish(root, "CIFAR-10_human.pt", {"clean_label": OWN[::-1], **SETS})
    text = refusal(Human("worst"), clean())
    assert text.startswith(f"{root}/CIFAR-10_human.pt: 40 of its clean labels are not those of")
    assert "https://github.com/UCSC-REAL/cifar-10-100n" in text


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        ("digits", "worst", r"human: nobody published .* of digits \(use data: cifar10, cifair10"),
        (
            "cifair10-gem0",
            "worst",
            r"of GEM's parts, as cifair10-gem0, are not offered \(use data: cifair10,",
        ),
        ("cifar10", "fine", r"noise.set = fine: cifar10 has aggre, random1, .*\(take one"),
        ("cifar100", "worst", r"noise.set = worst: cifar100 has fine \(take one"),
    ],
)
def test_a_source_without_such_labels_is_refused(
    data: str, name: Any, told: str, root: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        Human(name).given(clean(data), 0)


def test_a_missing_file_of_people_tells_where_it_was_looked_for(root: Path) -> None:
    text = refusal(Human("worst"), clean())
    assert f"no CIFAR-10_human.pt in {root}, {root}/cifar-n, {root}/cifarN, {root}/data, " in text
    assert "https://github.com/UCSC-REAL/cifar-10-100n" in text
    assert "--data-root or NOISETUNE_DATA" in text


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"clean_label": OWN, "noise": OWN}, "holds no worse_label, only clean_label, noise"),
        ({"clean_label": OWN[:-1], "worse_label": OWN}, r"clean_label: is of shape \(39,\)"),
        ({"clean_label": OWN, "worse_label": OWN + 1}, "row 9: 10 is no label of cifar10"),
    ],
)
def test_a_file_of_other_people_is_refused(arrays: dict[str, Any], told: str, root: Path) -> None:
    publish(root, "CIFAR-10_human.pt", arrays)
    with pytest.raises(ConfigError, match=told):
        Human("worst").given(clean(), 0)


def test_a_file_of_people_that_runs_something_runs_nothing(root: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    publish(root, "CIFAR-10_human.pt", {"clean_label": OWN, "worse_label": Payload()})
    assert "asks for posix.mkdir" in refusal(Human("worst"), clean())
    assert not (tmp_path / "ran").exists()


def write_csv(path: Path, text: str) -> None:
    path.write_text(text)


WRITERS: dict[str, tuple[str, str | None, Callable[[Path], object]]] = {
    "npy": ("a.npy", None, lambda path: np.save(path, LABELS)),
    "one array": ("a.npz", None, lambda path: np.savez(path, noisy=LABELS)),
    "two arrays": ("a.npz", "noisy", lambda path: np.savez(path, clean=OWN, noisy=LABELS)),
    "tensor": ("a.pt", None, lambda path: torch.save(torch.tensor(LABELS), path)),
    "tensors": (
        "a.pt",
        "noise_label_train",
        lambda path: torch.save(
            {"clean_label_train": torch.tensor(OWN), "noise_label_train": torch.tensor(LABELS)},
            path,
        ),
    ),
    "small integers": ("a.npy", None, lambda path: np.save(path, LABELS.astype(np.uint8))),
    "whole floats": ("a.npy", None, lambda path: np.save(path, LABELS.astype(np.float32))),
    "bare column": ("a.csv", None, lambda path: write_csv(path, table([], LABELS))),
    "label": ("a.csv", None, lambda path: write_csv(path, table(["clean", "label"], OWN, LABELS))),
    "named": (
        "a.csv",
        "noisy",
        lambda path: write_csv(path, table(["clean", "noisy"], OWN, LABELS)),
    ),
    "only": ("a.csv", None, lambda path: write_csv(path, table(["noisy"], LABELS))),
    "index": (
        "a.csv",
        None,
        lambda path: write_csv(
            path, "\ufeff" + table(["index", "label"], np.arange(M)[::-1], LABELS[::-1])
        ),
    ),
}


def table(names: list[str], *columns: npt.NDArray[np.int64]) -> str:
    lines = [",".join(names)] if names else []
    rows = zip(*columns, strict=True)
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize("how", WRITERS)
def test_labels_are_read_from_any_file(how: str, root: Path) -> None:
    name, key, write = WRITERS[how]
    write(root / name)
    noise = corrupt(clean(), File(name, key), seed=0)
    np.testing.assert_array_equal(noise.labels, LABELS)
    assert noise.labels.dtype == np.int64
    assert noise.rate == (LABELS != OWN).mean()


def test_a_relative_path_is_looked_for_here_first(root: Path) -> None:
    np.save(root / "labels.npy", OWN)
    np.testing.assert_array_equal(File("labels.npy").given(clean(), 0), OWN)
    np.save("labels.npy", LABELS)
    np.testing.assert_array_equal(File("labels.npy").given(clean(), 0), LABELS)
    np.testing.assert_array_equal(File(f"{root}/labels.npy").given(clean(), 0), OWN)


def test_a_missing_file_tells_where_it_was_looked_for(root: Path) -> None:
    text = refusal(File("labels.npy"), clean())
    assert text.startswith("noise.path = labels.npy: no such file")
    assert f"{root.parent}/here" in text
    assert str(root) in text


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (LABELS[:-1], r"is of shape \(39,\), cifar10 has 40 training images \(give"),
        (np.eye(K)[LABELS], r"is of shape \(40, 10\)"),
        (np.where(np.arange(M) == 3, K, LABELS), "row 3: 10 is no label of cifar10 .*from 0 to 9"),
        (np.where(np.arange(M) == 3, -1, LABELS), "row 3: -1 is no label"),
        (np.where(np.arange(M) == 3, 0.5, LABELS), "row 3: 0.5 is no label"),
        (np.where(np.arange(M) == 3, np.nan, LABELS), "row 3: nan is no label"),
        (np.where(np.arange(M) == 3, np.inf, LABELS), "row 3: inf is no label"),
        (LABELS.astype(str), "holds <U21, not labels"),
        (LABELS > 4, "holds bool, not labels"),
        (np.array([*LABELS[1:], None], dtype=object), r"cannot be read: .*\(write the labels"),
    ],
)
def test_what_are_no_labels_of_the_source_is_refused(values: Any, told: str, root: Path) -> None:
    np.save(root / "labels.npy", values)
    with pytest.raises(ConfigError, match=told):
        File("labels.npy").given(clean(), 0)


@pytest.mark.parametrize(
    ("name", "content", "key", "told"),
    [
        ("a.txt", b"1\n", None, "is no .npz, .npy, .pt or .csv file"),
        ("a.npy", b"\x93NUMPY", None, "cannot be read"),
        ("a.npy", b"", None, "cannot be read"),
        ("a.npz", b"PK\x03\x04", None, "cannot be read"),
        ("a.pt", b"PK\x03\x04", None, "is cut short, altered, or no file of arrays"),
        ("a.csv", b"", None, "is empty"),
        ("a.csv", b"label\n1\n\nx\n", None, "line 4: 'x' is no number"),
        ("a.csv", b"index,label\n0,1\n1\n", None, "line 3: 'nothing' is no number"),
        ("a.csv", b"clean,noisy\n1,2\n", None, "noise.key: is missing: .* has the columns clean"),
        ("a.csv", b"clean,noisy\n1,2\n", "worse", "noise.key = worse: .* columns clean, noisy"),
        ("a.csv", b"1,2\n3,4\n", None, "has the columns label, label"),
        ("a.csv", b"index,label\n0,1\n0,1\n", None, "column index does not hold each of 0 to 1"),
        ("a.csv", b"label\n\xff\xfe\n", None, "cannot be read"),
        ("a.csv", b"label\n1\n", None, r"is of shape \(1,\)"),
    ],
)
def test_a_file_that_cannot_be_understood_is_told_in_one_line(
    name: str, content: bytes, key: str | None, told: str, root: Path
) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(ConfigError, match=told) as error:
        File(name, key).given(clean(), 0)
    assert "\n" not in str(error.value)


def test_the_wrong_key_is_told_with_the_right_ones(root: Path) -> None:
    np.savez(root / "two.npz", clean=OWN, noisy=LABELS)
    np.save(root / "one.npy", LABELS)
    assert "noise.key: is missing, " in refusal(File("two.npz"), clean())
    assert "holds clean, noisy (name one" in refusal(File("two.npz", "worse"), clean())
    assert "one unnamed array (leave it out)" in refusal(File("one.npy", "noisy"), clean())


def test_a_column_of_an_index_alone_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("index\n0\n1\n")
    with pytest.raises(
        ConfigError, match=r"noise.key: is missing: .* has the columns index \(name"
    ):
        column(path, None)


@pytest.mark.parametrize(
    ("noise", "told"),
    [
        ({"kind": "human"}, r"noise\.set: is missing"),
        ({"kind": "human", "set": "best"}, r"noise\.set = 'best': must be one of 'aggre', "),
        ({"kind": "file"}, r"noise\.path: is missing"),
    ],
)
def test_a_task_names_the_set_or_the_file(noise: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Config.parse({"noise": noise})


def test_a_set_is_written_as_it_is_read() -> None:
    noise = {"kind": "human", "set": "worst", "seed": 3}
    assert Config.parse({"data": "cifar10", "noise": noise}).plain["noise"] == noise
