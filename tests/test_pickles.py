"""Arrays out of pickles: read as they were written, and nothing in them is run."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.data import pickles
from trainables.data.pickles import KNOWN, read_arrays
from trainables.errors import ConfigError

LABELS = {"clean_label": np.arange(50), "worse_label": np.arange(50)[::-1] % 7}


def zipped(data: bytes) -> bytes:
    """The way CIFAR-N's files lie: a pickle in an archive, and no tensors beside it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def old(data: bytes) -> bytes:
    """As numpy before 2 named its parts."""
    return data.replace(b"numpy._core.", b"numpy.core.")


@pytest.mark.parametrize(
    "write",
    [
        *(lambda value, p=p: zipped(pickle.dumps(value, p)) for p in (2, 4, 5)),
        lambda value: pickle.dumps(value, 2),
        lambda value: zipped(old(pickle.dumps(value, 2))),  # its names stand on lines of their own
        saved,
        lambda value: saved(value, _use_new_zipfile_serialization=False),
        lambda value: saved({k: torch.tensor(v.copy()) for k, v in value.items()}),
    ],
)
def test_a_dict_of_labels_is_read_however_it_was_written(
    write: Callable[[Any], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(write(LABELS))
    read = read_arrays(path)
    assert list(read) == list(LABELS)
    for key, array in LABELS.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)


@pytest.mark.parametrize("new", [True, False])
def test_tensors_and_arrays_are_read_together(new: bool, tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    before = set(torch.serialization.get_safe_globals())
    beside = {"noisy": torch.arange(5), "order": np.array([1, 2], ">i2"), "one": [np.int64(3)]}
    path.write_bytes(saved({**LABELS, **beside}, _use_new_zipfile_serialization=new))
    read = read_arrays(path)
    assert list(read) == [*LABELS, *beside]
    for key, value in {**LABELS, **beside}.items():
        np.testing.assert_array_equal(read[key], np.asarray(value))
    assert set(torch.serialization.get_safe_globals()) == before


def test_tensors_and_arrays_of_numpy_1_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    value = {"noisy": torch.arange(5), "clean": np.arange(5)}
    data = old(saved(value, _use_new_zipfile_serialization=False))
    assert b"numpy.core." in data
    path.write_bytes(data)
    assert list(read_arrays(path)) == ["noisy", "clean"]


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12).reshape(3, 4),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(5, dtype=">i2"),
        np.array([0.5, np.nan]),
        np.array([True, False]),
        torch.arange(7),
        [3, 1, 2],
        [np.int64(3), np.int64(1)],
    ],
)
def test_a_single_array_is_read_whatever_its_type_and_order(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(saved(value))
    ((name, array),) = read_arrays(path).items()
    assert name == ""
    np.testing.assert_array_equal(array, np.asarray(value))
    assert array.dtype == np.asarray(value).dtype


def test_python_2_wrote_bytes_as_text(tmp_path: Path) -> None:
    # "\x01..." of eight bytes an int64, as protocol 0 of Python 2 has them
    numbers = np.array([1, 200], "<i8").tobytes()
    program = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS"
        + repr(numbers)[1:].encode()
        + b"\ntb."
    )
    path = tmp_path / "labels.pkl"
    path.write_bytes(program)
    assert read_arrays(path)[""].tolist() == [1, 200]


def test_what_is_no_array_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(saved(OrderedDict(about="made by hand", labels=np.arange(3), rows=[[1], []])))
    assert list(read_arrays(path)) == ["labels"]
    path.write_bytes(saved({"about": "nothing else"}))
    with pytest.raises(ConfigError, match=r"holds no array of numbers \(get"):
        read_arrays(path)


class Touch:
    """Its pickle makes a folder when it is loaded by a loader that runs pickles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps,
        saved,
        lambda value: saved(value, _use_new_zipfile_serialization=False),
        lambda value: zipped(pickle.dumps(value)),
    ],
)
@pytest.mark.parametrize("beside", [{}, {"clean_label": np.arange(3)}])
def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(
    write: Callable[[Any], bytes], beside: dict[str, Any], tmp_path: Path
) -> None:
    mark, path = tmp_path / "ran", tmp_path / "labels.pt"
    value = {**beside, "x": Touch(mark)}
    path.write_bytes(write(value))
    with pytest.raises(ConfigError) as refusal:
        read_arrays(path)
    assert not mark.exists()
    text = str(refusal.value)
    assert text.startswith(
        f"{path}: asks for {os.mkdir.__module__}.mkdir, which arrays do not need"
    )
    assert "\n" not in text
    pickle.loads(pickle.dumps(value))
    assert mark.exists(), "the payload would have worked"


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfrombuffer\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
        b"ccollections\nnamedtuple\n.",
        b"c_codecs\nopen\n.",
    ],
)
def test_every_other_name_is_refused(program: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(zipped(program))
    with pytest.raises(ConfigError, match=r": asks for [a-z_.]+, which arrays do not need"):
        read_arrays(path)


FUNCTIONS = {  # each is one of ours, or torch's, when the file names it
    "filled": b"cnumpy.core.numeric\n_frombuffer\n",
    "empty": b"cnumpy.core.multiarray\n_reconstruct\n",
    "encode": b"c_codecs\nencode\n",
    "class": b"cnumpy\nndarray\n",
    "dict": b"}",
    "list": b"]",
}


@pytest.mark.parametrize("what", FUNCTIONS)
@pytest.mark.parametrize("write", [bytes, zipped])
def test_a_pickle_sets_no_attribute_of_what_is_not_its_own(
    what: str, write: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    defaults = {name: getattr(known, "__defaults__", None) for name, known in KNOWN.items()}
    state = b"(N}U\x0c__defaults__K\x07\x85st"  # None and {"__defaults__": (7,)}
    path = tmp_path / "labels.pt"
    path.write_bytes(write(b"\x80\x02" + FUNCTIONS[what] + state + b"b."))
    with pytest.raises(ConfigError, match=r"asks for setting attributes of a [a-z_]+, which"):
        read_arrays(path)
    assert {n: getattr(known, "__defaults__", None) for n, known in KNOWN.items()} == defaults


@pytest.mark.parametrize("write", [bytes, zipped])
def test_a_dict_s_own_attributes_do_nothing(
    write: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    program = b"\x80\x02ccollections\nOrderedDict\n)R}U\x05itemsK\x07sbU\x01a]K\x01as."
    path = tmp_path / "labels.pt"
    path.write_bytes(write(program))
    assert read_arrays(path)["a"].tolist() == [1]


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_too_large_for_labels_is_not_unpacked(
    packed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.pt"
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(np.zeros(10_000)))
    assert len(read_arrays(path)[""]) == 10_000
    monkeypatch.setattr(pickles, "LARGEST", 10_000)
    with pytest.raises(ConfigError, match=r": 80,\d\d\d bytes, unpacked, are more than 10,000"):
        read_arrays(path)


def test_objects_in_an_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(zipped(pickle.dumps(np.array([1, "a"], dtype=object))))
    with pytest.raises(ConfigError, match="an array of type O8, not of numbers"):
        read_arrays(path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("write", [saved, pickle.dumps, lambda value: zipped(pickle.dumps(value))])
def test_a_file_cut_short_is_told_in_one_line(
    write: Callable[[Any], bytes], share: float, tmp_path: Path
) -> None:
    data, path = write(LABELS), tmp_path / "labels.pt"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ConfigError, match=r"is cut short, altered, or no file of arrays") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("data", [b"label\n1\n2\n", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 50])
def test_a_file_of_another_kind_is_told_in_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.pt"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="no file of arrays"):
        read_arrays(path)


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory \(name"):
        read_arrays(tmp_path / "labels.pt")
