"""A user's own transition matrix: in YAML or a file, checked before anything starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.config import Config, make_noise
from trainables.data.noise import corrupt
from trainables.data.noise.base import Clean
from trainables.errors import ConfigError

ROWS = np.array([[0.7, 0.1, 0.2], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
LABELS = np.arange(30_000) % 3


def counts(**options: Any) -> np.ndarray:
    """Transitions of three classes, with the noise written as in a task."""
    task = Config.parse({"noise": {"kind": "matrix", **options}}).task
    images = np.zeros((len(LABELS), 1, 1, 1), np.uint8)
    clean = Clean("toy", LABELS, 3, images, np.arange(len(LABELS)))
    return corrupt(clean, make_noise(task.noise), 0).transitions


def save(folder: Path, name: str, matrix: np.ndarray = ROWS) -> str:
    path = folder / name
    if path.suffix == ".csv":
        np.savetxt(path, matrix, delimiter=",")
    elif path.suffix == ".npz":
        np.savez(path, matrix)
    else:
        np.save(path, matrix)
    return str(path)


def test_realised_transitions() -> None:
    found = counts(matrix=ROWS.tolist()) / 10_000
    deviation = np.sqrt(ROWS * (1 - ROWS) / 10_000)
    assert (np.abs(found - ROWS) <= 4 * deviation).all()


@pytest.mark.parametrize("name", ["m.npy", "m.npz", "m.csv"])
def test_a_file_gives_the_same_labels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = counts(matrix=ROWS.tolist())
    np.testing.assert_array_equal(counts(path=save(tmp_path, name)), expected)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(counts(path=name), expected)
    monkeypatch.chdir("/")
    monkeypatch.setenv("NOISETUNE_DATA", str(tmp_path))
    np.testing.assert_array_equal(counts(path=name), expected)


def test_whole_numbers_and_single_precision_will_do(tmp_path: Path) -> None:
    moved = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert counts(matrix=moved).max(1).tolist() == [10_000] * 3
    single = save(tmp_path, "m.npy", np.full((3, 3), 1 / 3, np.float32))
    assert counts(path=single).min() > 3000


def test_a_task_with_a_matrix_is_parsed_again_from_its_plain_form() -> None:
    plain = Config.parse({"noise": {"kind": "matrix", "matrix": ROWS.tolist()}}).plain
    assert Config.parse(plain).plain == plain


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], "noise.matrix, row 0: has 2 columns, the data have 3 classes"),
        ([[1, 0, 0], [0, 1], [0, 0, 1]], "noise.matrix, row 1: has 2 columns"),
        ([[1, 0, 0], [0, 1, 0]], "noise.matrix: is 2 x 3, the data have 3 classes (give 3 x 3"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0.9]], "noise.matrix, row 2: sums to 0.9, must be 1"),
        ([[1, 0, 0], [0.1, 0.9, 1e-5], [0, 0, 1]], "row 1: sums to 1.00001, must be 1"),
        ((ROWS.T).tolist(), "row 0: sums to 0.95, must be 1 (rows are clean classes; its columns"),
        ([[1.5, -0.5, 0], [0, 1, 0], [0, 0, 1]], "noise.matrix.0.0 = 1.5: must be at most 1"),
        ([[1, 0, -0.5], [0, 1, 0], [0, 0, 1]], "noise.matrix.0.2 = -0.5: must be at least 0"),
        ([[1, 0, 0], [0, float("nan"), 0], [0, 0, 1]], "must be a finite number"),
        ([[1, 0, 0], [0, "x", 0], [0, 0, 1]], "noise.matrix.1.1 = 'x': must be a number"),
        ([1, 0, 0], "noise.matrix.0 = 1: must be a list"),
        (0.4, "noise.matrix = 0.4: must be a list"),
        ([], "takes either matrix"),
    ],
)
def test_wrong_matrices_are_refused_in_one_line(matrix: Any, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        counts(matrix=matrix)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def objects(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


def truncated(path: Path) -> None:
    save(path.parent, path.name)
    path.write_bytes(path.read_bytes()[:-8])


def two_arrays(path: Path) -> None:
    np.savez(path, a=ROWS, b=ROWS)


WRONG = {
    "objects": ("m.npy", objects, "cannot be read: "),
    "truncated npy": ("m.npy", truncated, "cannot be read: "),
    "truncated npz": ("m.npz", truncated, "cannot be read: "),
    "empty npy": ("m.npy", lambda path: path.write_bytes(b""), "cannot be read: "),
    "empty csv": ("m.csv", lambda path: path.write_text(""), "cannot be read: "),
    "header": ("m.csv", lambda path: path.write_text("a,b,c\n1,0,0\n"), "without a header"),
    "ragged": ("m.csv", lambda path: path.write_text("1,0,0\n0,1\n"), "cannot be read: "),
    "two arrays": ("m.npz", two_arrays, "holds 2 arrays, a, b (write the matrix alone)"),
    "texts": ("m.npy", lambda path: np.save(path, np.array([["a"]])), "holds <U1, not numbers"),
    "single number": ("m.npy", lambda path: np.save(path, 1.0), "is a single number, the data"),
    "sums": ("m.npy", lambda path: np.save(path, ROWS * 0.9), "row 0: sums to 0.9, must be 1"),
    "not finite": ("m.npy", lambda path: np.save(path, ROWS * np.nan), "nan is no probability"),
    "above one": ("m.npy", lambda path: np.save(path, ROWS * 2), "row 0, column 0: 1.4 is no"),
    "size": ("m.npy", lambda path: np.save(path, np.eye(4)), "is 4 x 4, the data have 3 classes"),
    "other kind": ("m.txt", lambda path: path.write_text("1"), "is no .npy, .npz or .csv file"),
    "missing": ("m.npy", lambda path: None, "no such file (looked in "),
    "folder": ("m.npy", lambda path: path.mkdir(), "no such file (looked in "),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    name, write, told = WRONG[case]
    path = tmp_path / name
    write(path)
    with pytest.raises(ConfigError) as error:
        counts(path=str(path))
    assert str(error.value).startswith(f"noise.path = {path}")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_matrix_and_a_path_are_one_too_many(tmp_path: Path) -> None:
    for options in ({}, {"matrix": ROWS.tolist(), "path": save(tmp_path, "m.npy")}):
        with pytest.raises(ConfigError, match=r"takes either matrix, .* or path"):
            counts(**options)
