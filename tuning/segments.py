"""How a journal's lines reach its store: appended to a file, or as numbered objects.

A disk takes lines at the end of one file, `000002.jsonl` for the second life, and keeps what was
flushed. An object store appends nothing: each flush is an object of its own,
`000002-000017-000017.jsonl`, and every 64 of them are put together into one whose name says which
it stands for. A reader who finds both believes the longer.
"""

import os
import re
from pathlib import Path
from typing import Any, Protocol

from trainables.errors import ConfigError
from tuning.places import Place, Remote, children, make, remove, write

TOGETHER = 64  # objects that become one
_NAME = re.compile(r"(\d+)(?:-(\d+)-(\d+))?\.jsonl")


class Segment(Protocol):
    """Takes the lines of one life.

    Attributes:
        place: as messages name it.
    """

    place: Place

    def write(self, line: str) -> None:
        """Take a line, which may wait."""
        ...

    def flush(self) -> None:
        """Put every line taken so far into the store."""
        ...

    def close(self) -> None:
        """Take no more; what waits is not flushed by this."""
        ...


class Appended:
    """One file on a disk.

    Args:
        folder: of all segments; made when it is not there.
        life: number of the new segment.
    """

    def __init__(self, folder: Path, life: int) -> None:
        make(folder)
        self.place: Place = folder / f"{life:06d}.jsonl"
        self._file = self.place.open("x", encoding="utf-8")

    def write(self, line: str) -> None:
        self._file.write(line)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Numbered:
    """Objects in a store that cannot append; each begins with the head, so it reads alone.

    Args:
        folder: of all segments.
        life: number of the new segment.
        head: its first line.
    """

    def __init__(self, folder: Remote, life: int, head: str) -> None:
        self.folder, self.life, self.head = folder, life, head
        self.place: Place = folder
        self._waiting: list[str] = []
        self._recent: list[str] = []  # the lines of the objects that are not together yet
        self._part = 0

    def write(self, line: str) -> None:
        self._waiting.append(line)

    def flush(self) -> None:
        if not self._waiting:
            return
        lines = "".join(self._waiting)
        self._put(self._part + 1, self._part + 1, lines)
        self._part += 1
        self._waiting = []
        self._recent.append(lines)
        if len(self._recent) == TOGETHER:
            first = self._part - TOGETHER + 1
            self._put(first, self._part, "".join(self._recent))
            for part in range(first, self._part + 1):
                remove(self._named(part, part))
            self._recent = []

    def close(self) -> None:
        pass

    def _put(self, first: int, last: int, lines: str) -> None:
        write(self._named(first, last), (self.head + lines).encode())

    def _named(self, first: int, last: int) -> Remote:
        return self.folder / f"{self.life:06d}-{first:06d}-{last:06d}.jsonl"


def segments(folder: Place) -> list[Any]:
    """The places of all lines, in order, each line once; other files are left out.

    Raises:
        ConfigError: an object is missing between others.
    """
    found = []
    for place in children(folder, "*.jsonl"):
        if named := _NAME.fullmatch(place.name):
            life, first, last = (int(number or 0) for number in named.groups())
            found.append((life, first, -last, place))
    wanted, life, until = [], 0, 0
    for its_life, first, last, place in sorted(found, key=lambda one: one[:3]):
        if its_life != life:
            life, until = its_life, 0
        elif -last <= until:
            continue  # of one that stands for it
        if first > until + 1:
            gone = folder / f"{life:06d}-{until + 1:06d}-{until + 1:06d}.jsonl"
            raise ConfigError(f"{gone}: is not there (restore it from a copy)")
        until = -last
        wanted.append(place)
    return wanted


def lives(folder: Place) -> int:
    """The highest number that a segment there has."""
    names = (_NAME.fullmatch(place.name) for place in children(folder, "*.jsonl"))
    return max((int(name[1]) for name in names if name), default=0)
