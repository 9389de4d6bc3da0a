"""Where a study lies: a folder, or a place in an object store, under one set of operations.

A `Place` is a `pathlib.Path` or a `Remote`, which answers to the same few methods. What is written
appears whole: on a disk under a hidden name that is flushed and renamed, in an object store by one
PUT. Object stores are pyarrow's: S3 and what speaks like it, and Google's.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import url2pathname

from pyarrow import fs as arrow

from trainables.errors import ConfigError, unknown
from trainables.paths import expanded

# An object store that does not answer is asked again: nine times with pauses that double up to
# 20 s, a minute and a half in all; Google's is given as long.
ATTEMPTS, PATIENCE = 10, timedelta(seconds=90)
OPTIONS = {"s3": ("endpoint_override", "scheme", "region"), "gs": ("endpoint_override", "scheme")}
SCHEMES = ("file", *OPTIONS)


@dataclass(frozen=True)
class Remote:
    """A file or a folder in an object store.

    Attributes:
        fs: pyarrow's file system.
        key: bucket and path within it.
        scheme, query: of its URI.
    """

    fs: Any
    key: PurePosixPath
    scheme: str
    query: str = ""

    def __truediv__(self, name: str) -> "Remote":
        return Remote(self.fs, self.key / name, self.scheme, self.query)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}" + (f"?{self.query}" if self.query else "")

    def __lt__(self, other: "Remote") -> bool:
        return self.key < other.key

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def stem(self) -> str:
        return self.key.stem

    @property
    def parent(self) -> "Remote":
        return Remote(self.fs, self.key.parent, self.scheme, self.query)

    def exists(self) -> bool:
        """Whether it is an object, or the beginning of one's name."""
        return bool(self._kind() != arrow.FileType.NotFound)

    def is_dir(self) -> bool:
        return bool(self._kind() == arrow.FileType.Directory)

    def read_bytes(self) -> bytes:
        with self.fs.open_input_stream(str(self.key)) as stream:
            return bytes(stream.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def _kind(self) -> Any:
        return self.fs.get_file_info(str(self.key)).type


Place = Path | Remote


class Patient(arrow.S3FileSystem):  # type: ignore[misc]  # pyarrow carries no types
    """An S3 that is asked again, in the processes of trials, too: pickled, pyarrow's forgets that.

    Keys are never part of it: each process finds its own, as AWS's libraries do.
    """

    options: dict[str, str]

    def __reduce__(self) -> tuple[Any, ...]:
        return patient, (self.options,)


def patient(options: dict[str, str]) -> Patient:
    """The S3 of these options of `OPTIONS`."""
    retries = arrow.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
    made = Patient(retry_strategy=retries, **options)
    made.options = options
    return made


def place_of(text: str, flag: str) -> Place:
    """The place that a flag's value names: a path, with ~, or a URI.

    >>> place_of("file:///mnt/my%20studies", "--storage").as_posix()
    '/mnt/my studies'

    Raises:
        ConfigError: nothing is named, or what this program cannot open.
    """
    told = f"{flag} {text}"
    if not text.strip():
        raise ConfigError(f"{flag} {text!r}: name a folder, for example results")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return expanded(text, told).absolute()
    uri = urlsplit(text)
    if uri.scheme == "file" and uri.netloc in ("", "localhost"):
        return expanded(url2pathname(uri.path), told).absolute()
    if uri.scheme == "file":
        raise ConfigError(f"{told}: names another machine (give file:///path)")
    if uri.scheme not in OPTIONS:
        raise ConfigError(f"{told}: {unknown('scheme', uri.scheme, list(SCHEMES))}")
    if not uri.netloc:
        raise ConfigError(f"{told}: name a bucket, for example {uri.scheme}://bucket/studies")
    options = dict(parse_qsl(uri.query, keep_blank_values=True))
    for name in options.keys() - set(OPTIONS[uri.scheme]):
        raise ConfigError(f"{told}: {unknown('option', name, list(OPTIONS[uri.scheme]))}")
    try:
        if uri.scheme == "s3":
            system = patient(options)
        else:
            system = arrow.GcsFileSystem(retry_time_limit=PATIENCE, **options)
    except (OSError, ValueError, AttributeError) as error:  # the last: a pyarrow built without it
        raise ConfigError(f"{told}: {reason(error)}; see docs/cluster.md") from error
    key = PurePosixPath(uri.netloc) / uri.path.strip("/")
    if ".." in key.parts:
        raise ConfigError(f"{told}: must not hold '..' (write out where it is)")
    return Remote(system, key, uri.scheme, uri.query)


def reach(place: Place) -> None:
    """Ask an object store once, without patience, so that a wrong name is told at once.

    Raises:
        OSError: it does not answer, or lets nobody in.
    """
    if isinstance(place, Remote) and isinstance(place.fs, Patient):
        once = arrow.AwsStandardS3RetryStrategy(max_attempts=1)
        hasty = arrow.S3FileSystem(retry_strategy=once, **place.fs.options)
        hasty.get_file_info(str(place.key))


def plain(place: Place) -> Place:
    """The place as other programs take it: a URI without our options."""
    if isinstance(place, Path):
        return place
    return Remote(place.fs, place.key, place.scheme)


def children(place: Place, pattern: str = "*") -> list[Any]:
    """What lies directly in a folder and is named like the pattern, in order; none if it is not."""
    if isinstance(place, Path):
        return sorted(place.glob(pattern))
    selector = arrow.FileSelector(str(place.key), allow_not_found=True)
    names = (PurePosixPath(info.path).name for info in place.fs.get_file_info(selector))
    return sorted(place / name for name in names if fnmatchcase(name, pattern))


def write(place: Place, data: bytes) -> None:
    """Put a file there, whole and for good, in place of an older one."""
    if isinstance(place, Remote):
        with place.fs.open_output_stream(str(place.key)) as stream:
            stream.write(data)
        return
    with replacing(place) as draft:
        draft.write_bytes(data)


def make(place: Place) -> None:
    """Make a folder and those above it; object stores have none to make."""
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)


def remove(place: Place) -> None:
    """Remove a file, or a folder with all that is in it; nothing happens if there is none."""
    if isinstance(place, Path):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
        return
    kind = place.fs.get_file_info(str(place.key)).type
    if kind == arrow.FileType.File:
        place.fs.delete_file(str(place.key))
    elif kind == arrow.FileType.Directory:
        place.fs.delete_dir(str(place.key))


def move(place: Place, to: Place) -> None:
    """Give a file another name within its store, in place of an older file."""
    if isinstance(place, Path):
        assert isinstance(to, Path)
        place.replace(to)
    else:
        assert isinstance(to, Remote)
        place.fs.copy_file(str(place.key), str(to.key))  # pyarrow's move is no other
        place.fs.delete_file(str(place.key))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`, which becomes `path` when the block ends without an error."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        sync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a file on its disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def reason(error: Exception) -> str:
    """What a file system says of itself, in one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0]
