"""Arrays out of pickled files, without running what a pickle asks to run.

A pickle is a program: whoever loads it runs it. Published label files are nevertheless pickles, so
tensors are read by torch's own loader of weights, which runs no code, and everything else by a
loader that knows the few names numpy's arrays are made of. Both answer those names with stand-ins:
nothing of numpy is called by the file, and any other name is refused.
"""

import io
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.serialization import MAGIC_NUMBER, safe_globals

from trainables.errors import ConfigError

Arrays = dict[str, npt.NDArray[Any]]
CURE = "get the file anew from where it was published, or save the labels as .npz"
LARGEST = 1 << 30  # bytes of a file, unpacked: far more than any labels take


def read_arrays(path: Path) -> Arrays:
    """The arrays in a torch file (.pt) or a pickle.

    Returns:
        Those of a dict by their keys, a single one under the name "". Tensors, arrays and lists of
        numbers are arrays; a dict's other values are left out.

    Raises:
        ConfigError: it cannot be read, is no such file, is too large, is cut short, or asks to
            run something.
    """
    try:
        _bounded(path, path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror} (name a file that can be read)") from error
    _bounded(path, _unpacked(data))
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of protocols that it reads in part
            safe_globals(BESIDE_TENSORS),
        ):
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # it fails in many ways; ours reads more protocols, and tells which
        found = _unpickled(path, data)
    items = dict.items(found) if isinstance(found, dict) else [("", found)]
    arrays = {str(key): array for key, value in items if (array := _array(value)) is not None}
    if not arrays:
        raise ConfigError(f"{path}: holds no array of numbers ({CURE})")
    return arrays


class RefusedError(Exception):
    """A pickle asked for a name that reading arrays does not need."""


def _bounded(path: Path, size: int) -> None:
    if size > LARGEST:
        raise ConfigError(
            f"{path}: {size:,} bytes, unpacked, are more than {LARGEST:,}, too many for labels "
            "(save the labels alone)"
        )


def _unpacked(data: bytes) -> int:
    """How many bytes a zip archive says that it holds; a reader takes no more of each member."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # no archive, or a damaged one, of which whoever reads it tells
        return 0


def _unpickled(path: Path, data: bytes) -> Any:
    try:
        return _loaded(io.BytesIO(_program(data)))
    except RefusedError as error:
        raise ConfigError(
            f"{path}: asks for {error}, which arrays do not need; nothing of it was run ({CURE})"
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{path}: is cut short, altered, or no file of arrays: {cause} ({CURE})"
        ) from error


def _loaded(stream: io.BytesIO) -> Any:
    found = _Arrays(stream, encoding="latin1").load()
    if found == MAGIC_NUMBER:  # written by torch before 1.6, or as it did
        _version, _machine, found = (_Arrays(stream, encoding="latin1").load() for _ in range(3))
    return found


def _program(data: bytes) -> bytes:
    """The pickle within a file: torch puts it into a zip archive, others write it as it is."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError("a zip archive without data.pkl")
        return archive.read(names[0])


class _Arrays(pickle._Unpickler):
    """Builds stand-ins; the names it knows are all that it will ever look up.

    It is the loader in Python: the one in C reserves as much memory as a damaged file asks for.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def load_build(self) -> None:
        """Tell an instance its state; of anything else, which would be ours, nothing is set."""
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, _Array | _Type):
            instance.__setstate__(state)
        elif not isinstance(instance, OrderedDict):  # its attributes are of no use
            raise RefusedError(f"setting attributes of a {type(instance).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        known = KNOWN.get(f"{module.replace('numpy._core', 'numpy.core')}.{name}")
        if known is None:
            raise RefusedError(f"{module}.{name}".encode("unicode_escape").decode())
        return known


class _Type:
    """Stands for numpy.dtype: a number's kind and size, then its order of bytes."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise ValueError(f"an array of type {code}, not of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray: empty, then told its shape, type, order and bytes."""

    value: npt.NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, data = state
        self.value = _filled(data, kind, shape, "F" if columns_first else "C").value


def _filled(data: Any, kind: _Type, shape: Any, order: Any) -> _Array:
    raw = data.encode("latin1") if isinstance(data, str) else data  # written by Python 2
    array = _Array()
    array.value = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)
    return array


def _empty(*_: object) -> _Array:
    return _Array()


def _number(kind: _Type, data: Any) -> Any:
    value = _filled(data, kind, (), "C").value
    assert value is not None
    return value.item()


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}")
    return text.encode("latin1")


KNOWN: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Type,
    "numpy.core.multiarray._reconstruct": _empty,
    "numpy.core.multiarray.scalar": _number,
    "numpy.core.numeric._frombuffer": _filled,
    "_codecs.encode": _encoded,
    "collections.OrderedDict": OrderedDict,
}
BESIDE_TENSORS: list[
    Callable[..., Any] | tuple[Callable[..., Any], str]
] = [  # torch knows the other names itself
    (stand_in, name.replace("numpy.core", core))
    for name, stand_in in KNOWN.items()
    if name.startswith("numpy.")
    for core in ("numpy.core", "numpy._core")
]


def _array(value: Any) -> npt.NDArray[Any] | None:
    """What a file holds, as an array of numbers; None for anything else."""
    if isinstance(value, _Array):
        return value.value
    if not isinstance(value, Tensor | list | tuple):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths, a sparse tensor
        return None
    return array if array.dtype.kind in "biuf" else None
