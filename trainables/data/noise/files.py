"""Given labels that somebody published: people's own labels of CIFAR, or any file of labels."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from trainables.data.noise.base import Clean, Labels
from trainables.data.noise.columns import column
from trainables.data.noise.matrix import find
from trainables.data.pickles import read_arrays
from trainables.data.sources.roots import roots
from trainables.errors import ConfigError

PROJECT = "https://github.com/UCSC-REAL/cifar-10-100n"
FOLDERS = ("", "cifar-n", "cifarN", "data")  # of a data root, in which its files are looked for
CIFAR10 = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worst": "worse_label",
}
HUMAN = {  # file of each source, and its key of each set
    "cifar10": ("CIFAR-10_human.pt", CIFAR10),
    "cifair10": ("CIFAR-10_human.pt", CIFAR10),  # its training images are those of cifar10
    "cifar100": ("CIFAR-100_human.pt", {"fine": "noisy_label"}),
}
WHOLE, PARTS = "cifair10", "cifair10-gem"


@dataclass(frozen=True)
class Human:
    """Labels that people gave: CIFAR-10N (three each, their majority, the worst) and CIFAR-100N.

    Source: J. Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human
    Annotations", ICLR 2022; CC BY-NC 4.0. Their files are read without running anything in them.
    The seed changes nothing.
    """

    set_: Literal["aggre", "random1", "random2", "random3", "worst", "fine"]

    def given(self, clean: Clean, seed: int) -> Labels:
        if clean.data.startswith(PARTS):
            raise ConfigError(
                f"noise.kind = human: such labels of GEM's parts, as {clean.data}, are not offered "
                f"(use data: {WHOLE}, with per_class for fewer images, or kind: file)"
            )
        if clean.data not in HUMAN:
            raise ConfigError(
                f"noise.kind = human: nobody published such labels of {clean.data} (use data: "
                f"{', '.join(HUMAN)}, or kind: file)"
            )
        name, keys = HUMAN[clean.data]
        if self.set_ not in keys:
            raise ConfigError(
                f"noise.set = {self.set_}: {clean.data} has {', '.join(keys)} (take one of them)"
            )
        path = published(name)
        arrays = read_arrays(path)
        wanted = ("clean_label", keys[self.set_])
        for key in wanted:
            if key not in arrays:
                raise ConfigError(
                    f"{path}: holds no {key}, only {', '.join(arrays)} (take {name} of {PROJECT})"
                )
        own, given = (checked(arrays[key], clean, f"{path}, {key}") for key in wanted)
        other = int((own != clean.labels).sum())
        if other:
            raise ConfigError(
                f"{path}: {other:,} of its clean labels are not those of {clean.data}: it is of "
                f"other data or another order (take {name} of {PROJECT}, not its _ordered files)"
            )
        return given


@dataclass(frozen=True)
class File:
    """Labels of the whole training source, in its order, from .npz, .npy, .pt or .csv.

    Attributes:
        path: relative to the current folder, else to the data root.
        key: which array of a .npz or .pt, which column of a .csv; needed where there are several.
    """

    path: str
    key: str | None = None

    def given(self, clean: Clean, seed: int) -> Labels:
        path = find(self.path)
        place = str(path) if self.key is None else f"{path}, {self.key}"
        return checked(read(path, self.key), clean, place)


def published(name: str) -> Path:
    """Where a file of CIFAR-N lies below the data roots."""
    places = [root / folder for root in roots() for folder in FOLDERS]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise ConfigError(
        f"noise.kind = human: no {name} in {', '.join(map(str, places))} (it is in the folder data "
        f"of {PROJECT}; put it into one of these, or name its folder by --data-root or "
        "NOISETUNE_DATA)"
    )


def read(path: Path, key: str | None) -> npt.NDArray[Any]:
    """An array from a file, by its ending.

    Raises:
        ConfigError: it cannot be read, is of another kind, has no such key, or too many.
    """
    try:
        if path.suffix == ".csv":
            return column(path, key)
        if path.suffix in (".pt", ".pth", ".pkl"):
            arrays = read_arrays(path)
            return arrays[chosen(list(arrays), key, path)]
        if path.suffix in (".npz", ".npy"):
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                chosen([""], key, path)
                return loaded
            with loaded:
                array: npt.NDArray[Any] = loaded[chosen(loaded.files, key, path)]
                return array
    except ConfigError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile, csv.Error) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error} (write the labels as integers)"
        ) from error
    raise ConfigError(f"{path}: is no .npz, .npy, .pt or .csv file (write it as one of them)")


def chosen(names: list[str], key: str | None, path: Path) -> str:
    """Which array is meant: the named one, or the only one.

    >>> chosen(["clean", "noisy"], "noisy", Path("labels.npz")), chosen([""], None, Path("a.npy"))
    ('noisy', '')
    """
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and key in names:
        return key
    if names == [""]:
        raise ConfigError(f"noise.key = {key}: {path} holds one unnamed array (leave it out)")
    held = f"{path} holds {', '.join(names) or 'nothing'}"
    if key is None:
        raise ConfigError(f"noise.key: is missing, {held} (name one of them)")
    raise ConfigError(f"noise.key = {key}: {held} (name one of them)")


def checked(values: npt.NDArray[Any], clean: Clean, place: str) -> Labels:
    """The (S,) labels of the rows that are used, out of those of the whole source.

    Raises:
        ConfigError: not one for each image, not whole numbers, or not of its classes.
    """
    size = len(clean.images)
    if values.shape != (size,):
        raise ConfigError(
            f"{place}: is of shape {values.shape}, {clean.data} has {size} training images (give "
            "one label for each, in their order)"
        )
    if values.dtype.kind not in "iuf":
        raise ConfigError(f"{place}: holds {values.dtype}, not labels (give integers)")
    inside = (values == np.floor(values)) & (values >= 0) & (values < clean.classes)
    if not inside.all():
        row = int((~inside).argmax())
        raise ConfigError(
            f"{place}, row {row}: {values[row]} is no label of {clean.data} (give whole numbers "
            f"from 0 to {clean.classes - 1})"
        )
    return values.astype(np.int64)[clean.rows]
