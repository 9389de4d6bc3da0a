"""The journal: every decision and report of a study, one JSON object a line, in order.

Each life of a study appends to a segment of its own. What must survive a kill is flushed to disk
before the caller goes on; the rest follows within a second.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError

VERSION = 1
FLUSH_SECONDS = 1.0


class BrokenError(Exception):
    """The journal takes no more entries, so the study cannot go on; the message is one line."""


class Journal:
    """Writes one life's segment; its file appears with the first entry.

    As a context it is closed at the end, and a disk that failed it is told as `BrokenError`,
    whatever error that became on its way.

    Args:
        folder: of all segments; made when it is not there.

    Attributes:
        broken: why it takes no more entries; later ones would leave a gap.
    """

    broken: OSError | None = None

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem) for path in _segments(folder)]
        self.path = folder / f"{max(numbers, default=0) + 1:06d}.jsonl"
        self._file = self.path.open("x", encoding="utf-8")
        self.append({"version": VERSION}, flush=True)

    def append(self, entry: dict[str, Any], *, flush: bool = False) -> None:
        """Write an entry; with `flush`, it is on disk when this returns."""
        if self.broken:
            raise self.broken
        line = json.dumps(entry, allow_nan=False, separators=(",", ":")) + "\n"
        with self._noting():
            self._file.write(line)
        self._waiting = True
        if flush:
            self.flush()
        else:
            self.flush_due()

    def flush_due(self) -> None:
        """Put on disk what has waited for a second; call it now and then."""
        if self._waiting and time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put everything written so far on disk."""
        with self._noting():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._flushed, self._waiting = time.monotonic(), False

    def close(self) -> None:
        """Flush and end the segment; a second call does nothing."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            if self.broken is None:
                self.close()
        if self.broken is not None:
            reason = self.broken.strerror or self.broken
            told = f"{self.path}: cannot be written ({reason}); put that right, then go on with"
            raise BrokenError(f"{told} --resume {self.path.parents[1]}")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.broken = error
            raise

    _flushed, _waiting = float("-inf"), False


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """All entries of all segments, in order; a last line that a kill cut short is left out.

    Raises:
        ConfigError: a damaged line or an unknown version, by file and line.
    """
    for path in _segments(folder):
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        whole = lines[:-1]  # what follows the last newline was cut short
        for number, line in enumerate(whole, start=1):
            entry = _entry(line)
            if entry is None:
                if number == len(whole):
                    break
                raise ConfigError(f"{path}:{number}: is damaged (restore it from a copy)")
            if number == 1:
                if entry.get("version") != VERSION:
                    told = f"version {entry.get('version')}, this program reads {VERSION}"
                    raise ConfigError(f"{path}:1: {told} (use the noisetune that wrote it)")
                continue
            yield entry


def _entry(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None for a damaged one."""
    try:
        entry = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdecimal())
