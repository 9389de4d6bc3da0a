"""Noise by a user's own transition matrix: row = clean class, column = given class."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from trainables.bounds import Unit
from trainables.data.noise.base import Clean, Labels, Rows
from trainables.data.noise.transitions import by_class
from trainables.data.sources.roots import roots
from trainables.errors import ConfigError
from trainables.paths import expanded

CLOSE = 1e-6  # how far from 1 a row may sum


@dataclass(frozen=True)
class Matrix:
    """Transitions as a list of rows, or in a .npy, .npz (of one array) or .csv file."""

    matrix: tuple[tuple[Unit, ...], ...] = ()
    path: str | None = None  # relative to the current folder, else to the data root

    def given(self, clean: Clean, seed: int) -> Labels:
        return by_class(clean, seed, self.rows(clean.classes))

    def rows(self, classes: int) -> Rows:
        """The (K, K) probabilities, checked.

        Raises:
            ConfigError: no matrix, two, or one that is none of K classes.
        """
        if bool(self.matrix) == bool(self.path):
            raise ConfigError(
                "noise.kind = matrix: takes either matrix, a list of K rows of K probabilities, or "
                "path, a .npy, .npz or .csv file (give one of them)"
            )
        if self.path:
            return checked(read(self.path), classes, f"noise.path = {self.path}")
        uneven = [i for i, row in enumerate(self.matrix) if len(row) != classes]
        if uneven:
            raise ConfigError(
                f"noise.matrix, row {uneven[0]}: has {len(self.matrix[uneven[0]])} columns, the "
                f"data have {classes} classes (give {classes} rows of {classes})"
            )
        return checked(np.array(self.matrix, dtype=np.float64), classes, "noise.matrix")


def checked(matrix: npt.NDArray[np.float64], classes: int, place: str) -> Rows:
    """The matrix itself.

    Raises:
        ConfigError: wrong size, an entry that is no probability, a row that does not sum to 1.
    """
    if matrix.shape != (classes, classes):
        size = " x ".join(map(str, matrix.shape)) or "a single number"
        raise ConfigError(
            f"{place}: is {size}, the data have {classes} classes (give {classes} x {classes}, a "
            "row for each clean class)"
        )
    bad = ~((matrix >= 0) & (matrix <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ConfigError(
            f"{place}, row {row}, column {column}: {matrix[row, column]:g} is no probability "
            "(must be from 0 to 1)"
        )
    off = np.abs(matrix.sum(axis=1) - 1) > CLOSE
    if off.any():
        row = int(off.argmax())
        total = f"sums to {matrix[row].sum():.7g}, must be 1"
        turned = np.abs(matrix.sum(axis=0) - 1).max() <= CLOSE
        cure = "its columns do: turn it over" if turned else "divide it by its sum"
        raise ConfigError(f"{place}, row {row}: {total} (rows are clean classes; {cure})")
    return matrix


def read(name: str) -> npt.NDArray[np.float64]:
    """An array of numbers from a file.

    Raises:
        ConfigError: a file that is missing, unreadable or holds something else.
    """
    place = f"noise.path = {name}"
    path = find(name)
    try:
        if path.suffix == ".csv":
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of an empty file
                values = np.loadtxt(path, delimiter=",", ndmin=2)
        elif path.suffix in (".npy", ".npz"):
            values = one_array(path, place)
        else:
            raise ConfigError(f"{place}: is no .npy, .npz or .csv file (write it as one of them)")
    except ConfigError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, UserWarning, BadZipFile) as error:
        raise ConfigError(
            f"{place}: cannot be read: {error} (write numbers only, without a header)"
        ) from error
    if values.dtype.kind not in "iuf":
        raise ConfigError(f"{place}: holds {values.dtype}, not numbers (write float64)")
    return values.astype(np.float64)


def one_array(path: Path, place: str) -> npt.NDArray[np.float64]:
    """What a .npy file holds, or the only array of a .npz file."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        names = loaded.files
        if len(names) != 1:
            raise ConfigError(
                f"{place}: holds {len(names)} arrays, {', '.join(names)} (write the matrix alone)"
            )
        only: npt.NDArray[np.float64] = loaded[names[0]]
        return only


def find(name: str) -> Path:
    """The file, in the current folder or in a data root.

    Raises:
        ConfigError: it is in none of them.
    """
    given = expanded(name, f"noise.path = {name}")
    places = [given.absolute(), *(root / given for root in roots())]
    for path in places:
        if path.is_file():
            return path
    looked = ", ".join(str(path.parent) for path in dict.fromkeys(places))
    raise ConfigError(f"noise.path = {name}: no such file (looked in {looked})")
