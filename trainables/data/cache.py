"""One copy of each data set on a machine, memory-mapped by every process that trains on it.

    <home>/data/digits.json          names the address, the classes and the statistics
    <home>/data/<address>/*.npy      images, labels, test_images
    <home>/sealed/digits.npy         test labels: in no address and no hash, read by tuning.sealed

`<home>` is $NOISETUNE_HOME, else `noisetune` in the user's cache folder. A folder appears by one
rename, after everything in it is on disk, under a lock: a kill while writing leaves nothing that
could be mistaken for data, and two processes write it once.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.data.sources import SOURCES
from trainables.data.sources.base import Source
from trainables.data.views import View
from trainables.errors import ConfigError

FORMAT = 2  # of the files below; another number, another cache entry
ARRAYS = ("images", "labels", "test_images")


@dataclass(frozen=True)
class Cached:
    """A data set as it lies on disk, mapped read-only.

    Attributes:
        images: (M, C, H, W) uint8.
        labels: (M,) int64, as the source has them.
        test_images: (T, C, H, W) uint8.
        classes: K names.
        mean, std: C numbers each, of the training source in [0, 1].
        view: how a training image may be moved.
        validation: positions the source itself sets aside for validation, if it does.
        address: sha256 of the arrays above.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view: View
    validation: npt.NDArray[np.int64] | None
    address: str


def home() -> Path:
    """The folder of everything noisetune keeps between runs."""
    given = os.environ.get("NOISETUNE_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache) / "noisetune"


def open_data(name: str) -> Cached:
    """Map a data set, reading its source and writing the cache when it is not there yet.

    Raises:
        ConfigError: the cache folder cannot be written.
    """
    root = home()
    try:
        (root / "data").mkdir(parents=True, exist_ok=True)
        about = root / "data" / f"{name}.json"
        if not _whole(about):
            with FileLock(f"{about}.lock"):
                if not _whole(about):
                    _write(root, name, SOURCES[name]())
    except OSError as error:
        raise ConfigError(
            f"data cache {root}: {error.strerror or error}; set NOISETUNE_HOME to a folder that "
            "can be written"
        ) from error
    facts = json.loads(about.read_text())
    folder = root / "data" / facts["address"]
    images, labels, test_images = (
        np.load(folder / f"{array}.npy", mmap_mode="r") for array in ARRAYS
    )
    return Cached(
        images=images,
        labels=labels,
        test_images=test_images,
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        view=View(**facts["view"]),
        validation=None if facts["validation"] is None else np.array(facts["validation"]),
        address=facts["address"],
    )


def _whole(about: Path) -> bool:
    """Whether an entry is complete and of today's format."""
    try:
        facts: dict[str, Any] = json.loads(about.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    folder = about.parent / facts["address"]
    there = all((folder / f"{array}.npy").is_file() for array in ARRAYS)
    return bool(facts["format"] == FORMAT) and there


def _write(root: Path, name: str, source: Source) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "images": source.images,
        "labels": source.labels,
        "test_images": source.test_images,
    }
    digest = sha256()
    for key, array in arrays.items():
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    address = digest.hexdigest()
    folder = root / "data" / address
    draft = root / "data" / f"{address}.draft"
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed while writing
    draft.mkdir()
    for key, array in arrays.items():
        _save(draft / f"{key}.npy", array)
    shutil.rmtree(folder, ignore_errors=True)  # nothing vouches for what is in it
    draft.rename(folder)
    (root / "sealed").mkdir(exist_ok=True)
    _save(root / "sealed" / f"{name}.npy", source.test_labels)
    grey = source.images.astype(np.float64) / 255
    facts = {
        "format": FORMAT,
        "address": address,
        "classes": source.classes,
        "mean": grey.mean((0, 2, 3)).tolist(),
        "std": grey.std((0, 2, 3)).tolist(),
        "view": asdict(source.view),
        "validation": None if source.validation is None else source.validation.tolist(),
    }
    written = root / "data" / f"{name}.json.draft"
    written.write_text(json.dumps(facts))
    written.replace(root / "data" / f"{name}.json")


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
