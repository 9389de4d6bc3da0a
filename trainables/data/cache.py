"""One copy of each data set on a machine, memory-mapped by every process that trains on it.

    <home>/data/digits.json          names the address, the classes, the statistics, the checksums
    <home>/data/<address>/*.npy      images, labels, test_images
    <home>/data/digits.draft/        all of it while it is being written
    <home>/sealed/digits.npy         test labels: in no address and no hash, read by tuning.sealed

A folder appears by one rename, after everything in it is on disk, under a lock: a kill while
writing leaves nothing that could be mistaken for data, and two processes write it once. Sizes are
compared at every opening, checksums by `verify`.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.data.arrays import Levels, Look, Written, save
from trainables.data.entry import ARRAYS, ENTRY, FORMAT, Entry, flaws, read
from trainables.data.meter import Meter
from trainables.data.sources import SOURCES
from trainables.data.sources.base import Source
from trainables.data.sources.roots import draft
from trainables.data.sources.roots import home as home  # is part of this module too
from trainables.data.strong import Strong
from trainables.data.views import View
from trainables.errors import ConfigError

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # what a rename onto a full folder gives
ROOM = "free some room there, or "
FULL = {  # what helps, but another home
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or ",
}


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
        strong: how it may be changed strongly.
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
    strong: Strong
    validation: npt.NDArray[np.int64] | None
    address: str


def open_data(name: str) -> Cached:
    """Map a data set, reading its source and writing the cache when it is not there yet.

    Raises:
        ConfigError: the source cannot be had, or the cache folder cannot be written.
    """
    about = _about(name)
    with _told():
        entry, _ = read(about)
        if entry is None:
            about.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{about}.lock"):
                entry, flaw = read(about)  # another process may have been first
                if entry is None:
                    entry = _make(name, flaw)
    folder = about.parent / entry.address
    try:
        images, labels, test_images = (
            np.load(folder / f"{array}.npy", mmap_mode="r") for array in ARRAYS
        )
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{folder}: {error} (remove {about}: it is written anew)") from error
    return Cached(
        images=images,
        labels=labels,
        test_images=test_images,
        classes=entry.classes,
        mean=entry.mean,
        std=entry.std,
        view=entry.view,
        strong=entry.strong,
        validation=None if entry.validation is None else np.array(entry.validation, np.int64),
        address=entry.address,
    )


def cached() -> list[str]:
    """The data sets that have an entry, whole or not."""
    return sorted(about.stem for about in (home() / "data").glob("*.json"))


def verify(name: str) -> list[str]:
    """What is wrong with an entry, a line each; reads all of it, but the test labels.

    Raises:
        OSError: it cannot be read.
    """
    about = _about(name)
    entry, flaw = read(about)
    if entry is None:
        return [flaw or f"{about}: is not there, or older (it is written when it is needed)"]
    cure = f"remove {about}: it is written anew"
    found = flaws(about.parent / entry.address, entry.files, deep=True)
    if not _sealed(name).is_file():
        found.append(f"{_sealed(name)}: is not there")
    return [f"{flaw} ({cure})" for flaw in found]


def _about(name: str) -> Path:
    return home() / "data" / f"{name}.json"


def _sealed(name: str) -> Path:
    return home() / "sealed" / f"{name}.npy"


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the file system refuses into a line with its cure."""
    try:
        yield
    except OSError as error:
        full = FULL.get(error.errno or 0)
        other = "a folder that can be written" if full is None else "a folder with more room"
        raise ConfigError(
            f"data cache {home()}: {error.strerror or error}; {full or ''}set NOISETUNE_HOME to "
            f"{other}"
        ) from error


def _make(name: str, flaw: str | None) -> Entry:
    """Read a source and write its entry, under the lock; a failure leaves nothing of it.

    Args:
        name: the data set's.
        flaw: what is wrong with the entry that is there, if one is.
    """
    folder = draft(name)
    shutil.rmtree(folder.parent, ignore_errors=True)  # of a process that was killed while writing
    try:
        folder.mkdir(parents=True)
        return _write(name, _source(name))
    except ConfigError as error:
        raise error if flaw is None else error.within(f"{flaw}; to write it anew") from error
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _source(name: str) -> Source:
    try:
        return SOURCES[name]()
    except OSError as error:
        if error.errno in FULL:
            raise  # a large source writes into the draft
        raise ConfigError(f"data {name}: {error}") from error


def _write(name: str, source: Source) -> Entry:
    arrays: dict[str, npt.NDArray[Any]] = {
        "images": source.images,
        "labels": source.labels,
        "test_images": source.test_images,
    }
    whole = draft(name)
    total = sum(array.nbytes for array in arrays.values())
    _room(whole, sum(array.nbytes for array in arrays.values() if not isinstance(array, np.memmap)))
    digest, levels = sha256(), Levels(source.images.shape[1])
    files: dict[str, Written] = {}
    with Meter(f"data cache {home()}: writing {name}, {total >> 20} MiB", total) as meter:
        for key, array in arrays.items():
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            looks: list[Look] = [
                lambda part: digest.update(part.data),
                lambda part: meter.add(part.nbytes),
            ]
            if key == "images":
                looks.append(levels.add)
            files[f"{key}.npy"] = save(whole / f"{key}.npy", array, looks)
    entry = Entry(
        format=FORMAT,
        address=digest.hexdigest(),
        classes=source.classes,
        mean=tuple(levels.mean()),
        std=tuple(levels.std()),
        view=source.view,
        strong=source.strong,
        validation=None if source.validation is None else tuple(source.validation.tolist()),
        files=files,
    )
    written, labels = whole.parent / "facts.json", whole.parent / "test_labels.npy"
    written.write_bytes(ENTRY.dump_json(entry))
    save(labels, source.test_labels)
    _place(whole, home() / "data" / entry.address, files)
    _sealed(name).parent.mkdir(exist_ok=True)
    labels.replace(_sealed(name))
    written.replace(_about(name))
    return entry


def _place(whole: Path, folder: Path, files: dict[str, Written]) -> None:
    """Move arrays to their address, unless another name's are there and are the same.

    Another process may write the same arrays under another name at any moment.
    """
    for last in (False, True):
        try:
            whole.rename(folder)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            if not flaws(folder, files, deep=True):
                return
            if last:
                raise
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return


def _room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        told = f"{os.strerror(errno.ENOSPC)}: {needed >> 20} MiB needed, {free >> 20} free"
        raise OSError(errno.ENOSPC, told)
