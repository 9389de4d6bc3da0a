"""Original files of a data set: found under the data roots, or downloaded once; read verified."""

import gzip
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from trainables.data.sources.roots import home, roots
from trainables.errors import ConfigError

PATIENCE = 30.0  # seconds that a server may stay silent


@dataclass(frozen=True)
class Originals:
    """The files that a data set consists of, as its authors publish them.

    Attributes:
        name: the data set's.
        folder: where the files lie below a data root.
        checksums: md5 of each file (of what is in it, where it lies there as .gz), by its name.
        published: the class in torchvision.datasets that downloads them, if one does.
        cure: how a user gets them by hand; {root} stands for the data root.
        elsewhere: other folders that may hold the files themselves.
    """

    name: str
    folder: str
    checksums: dict[str, str]
    published: str | None
    cure: str
    elsewhere: tuple[Path, ...] = ()

    def reader(self) -> Callable[[str], bytes]:
        """What gives the content of a file by its name, and refuses one that is not the original.

        Raises:
            ConfigError: not all files are there, and they cannot be downloaded.
        """
        places = [*(root / self.folder for root in roots()), *self.elsewhere]
        place = next((place for place in places if not self.missing(place)), None)
        if place is None:
            place = self._fetched(places)
        return lambda name: verified(present(place, name) or place / name, self.checksums[name])

    def missing(self, place: Path) -> list[str]:
        """Which files are not in a folder."""
        return [name for name in self.checksums if present(place, name) is None]

    def _fetched(self, places: list[Path]) -> Path:
        root = _writable()
        place, draft = root / self.folder, root / f".{self.name}.draft"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.name}.lock"):
                if self.missing(place):  # else another process was first
                    shutil.rmtree(draft, ignore_errors=True)  # of one killed while downloading
                    try:
                        self._download(draft)
                        place.mkdir(parents=True, exist_ok=True)
                        for name in self.missing(place):
                            os.replace(draft / self.folder / name, place / name)
                    finally:
                        shutil.rmtree(draft, ignore_errors=True)
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            looked = " nor in ".join(f"{place}{self._lacking(place)}" for place in places)
            raise ConfigError(
                f"data {self.name}: is not in {looked}, and cannot be downloaded "
                f"({_cause(error)}); {self.cure.format(root=root)}, or name the folder that holds "
                f"{self.folder} by --data-root or NOISETUNE_DATA"
            ) from error
        return place

    def _download(self, draft: Path) -> None:
        if self.published is None:
            raise RuntimeError("torchvision does not have it")
        from torchvision import datasets  # four seconds to import, and seldom needed

        draft.mkdir()
        with _silence_ends():
            getattr(datasets, self.published)(draft, download=True)

    def _lacking(self, place: Path) -> str:
        """What a folder lacks that has a part of the files."""
        missing = self.missing(place)
        return f" (lacks {', '.join(missing)})" if len(missing) < len(self.checksums) else ""


def present(place: Path, name: str) -> Path | None:
    """Where a file lies in a folder, packed or not; None where it does not.

    Raises:
        ConfigError: the folder cannot be looked into.
    """
    for path in (place / name, place / f"{name}.gz"):
        try:
            if path.is_file():
                return path
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror} (let this user read {place})") from error
    return None


def verified(path: Path, checksum: str) -> bytes:
    """A file's content, unpacked where it is a .gz, once it is known to be the original.

    What is verified is what is returned: nobody can change the file in between.

    Raises:
        ConfigError: it cannot be read, is cut short or altered.
    """
    cure = "put the original in its place, or move this one away"
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except PermissionError as error:
        raise ConfigError(f"{path}: {error.strerror} (let this user read it)") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cut short or altered: {_cause(error)} ({cure})") from error
    found = md5(data, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise ConfigError(
            f"{path}: cut short or altered: the md5 of its {len(data):,} bytes is {found}, the "
            f"original's {checksum} ({cure})"
        )
    return data


def _writable() -> Path:
    """The data root that a download goes to: the user's where it can be written, else our own."""
    first, *_, own = [*roots(), home() / "raw"]
    return first if os.access(first, os.W_OK) else own


@contextmanager
def _silence_ends() -> Iterator[None]:
    """A server that does not answer is an error, not an endless wait."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _cause(error: BaseException) -> str:
    """What went wrong, in few words, whatever libraries wrapped around it."""
    reason = getattr(error, "reason", None) or error  # of an URLError
    text = str(getattr(reason, "strerror", None) or reason) or type(error).__name__
    quoted = re.findall(r"<urlopen error (?:\[Errno -?\d+\] )?(.*?)>", text)  # one per mirror
    return ", ".join(dict.fromkeys(quoted)) or text
