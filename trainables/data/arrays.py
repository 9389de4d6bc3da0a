"""Arrays on their way to disk: in parts, so that one may be larger than memory."""

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PART = 4 << 20  # bytes
Look = Callable[[npt.NDArray[Any]], object]


@dataclass(frozen=True)
class Written:
    """What a file was when it was written."""

    size: int
    sha256: str


def parts(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The rows of an array, some at a time, contiguous."""
    rows = max(1, PART // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows])


def save(path: Path, array: npt.NDArray[Any], looks: Sequence[Look] = ()) -> Written:
    """Write an array as .npy and make sure that it is on disk; a map of that file stays there.

    Args:
        path: of the file.
        array: at least one axis.
        looks: each is given each part in turn.

    Raises:
        OSError: the disk is full, or fails otherwise.
    """
    offset = _offset(array, path)
    with path.open("wb" if offset is None else "r+b") as file:
        if offset is None:
            head = _header(array)
            file.write(head)
        else:
            head = file.read(offset)
        digest, size = sha256(head), len(head)
        for part in parts(array):
            if offset is None:
                file.write(part.data)
            digest.update(part.data)
            size += part.nbytes
            for look in looks:
                look(part)
        file.flush()
        os.fsync(file.fileno())
    return Written(size, digest.hexdigest())


def _offset(array: npt.NDArray[Any], path: Path) -> int | None:
    """Where an array starts in a file that it is a map of; None where it is no map of it."""
    if not isinstance(array, np.memmap) or array.filename is None or not path.exists():
        return None
    if not path.samefile(array.filename):
        return None
    if array.offset + array.nbytes != path.stat().st_size:
        raise ValueError(f"{path}: a map of a part of it cannot be written over it")
    array.flush()
    return int(array.offset)


def _header(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


class Levels:
    """How often each of 256 levels occurs, by channel: exact statistics of any number of images.

    >>> levels = Levels(1)
    >>> levels.add(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    >>> levels.mean(), levels.std()
    ([0.5], [0.5])
    """

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), np.int64)

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Count (B, C, H, W) images."""
        for channel, counts in enumerate(self.counts):
            counts += np.bincount(images[:, channel].ravel(), minlength=256)

    def mean(self) -> list[float]:
        """C means, of images in [0, 1]."""
        return [total / (255 * size) for size, total, _ in self._sums()]

    def std(self) -> list[float]:
        """C standard deviations, of images in [0, 1]."""
        return [
            math.sqrt(size * squares - total**2) / (255 * size)
            for size, total, squares in self._sums()
        ]

    def _sums(self) -> Iterator[tuple[int, int, int]]:
        """Number, sum and sum of squares, by channel, in whole numbers of any length."""
        for counts in self.counts.tolist():
            yield (
                sum(counts),
                sum(count * level for level, count in enumerate(counts)),
                sum(count * level**2 for level, count in enumerate(counts)),
            )
