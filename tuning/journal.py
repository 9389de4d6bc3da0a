"""The journal: every decision and report of a study, one JSON object a line, in order.

Each life of a study writes a segment of its own (`tuning.segments`). What must survive a kill is
flushed before the caller goes on; the rest follows within a second.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError
from tuning.places import Place, reason
from tuning.segments import Appended, Numbered, Segment, lives, segments

Entry = dict[str, Any]
VERSION = 1
FLUSH_SECONDS = 1.0


class BrokenError(Exception):
    """The journal takes no more entries, so the study cannot go on; the message is one line."""


class Journal:
    """Writes one life's segment.

    As a context it is closed at the end, and a store that failed it is told as `BrokenError`,
    whatever error that became on its way.

    Args:
        folder: of all segments; made when it is not there.
        held: whether the study is still this driver's, asked before anything is put on disk; what
            another has taken up must not be written to.

    Attributes:
        broken: why it takes no more entries; later ones would leave a gap.
    """

    broken: OSError | None = None

    def __init__(self, folder: Place, held: Callable[[], bool] = lambda: True) -> None:
        self.study, self.held = folder.parent, held
        self._closed = False
        head, life = _line({"version": VERSION}), lives(folder) + 1
        if isinstance(folder, Path):
            self._segment: Segment = Appended(folder, life)
            self._write(head, flush=True)
        else:
            self._segment = Numbered(folder, life, head)

    def append(self, entry: dict[str, Any], *, flush: bool = False) -> None:
        """Write an entry; with `flush`, it is on disk when this returns."""
        if self.broken:
            raise self.broken
        self._write(_line(entry), flush)

    def _write(self, line: str, flush: bool) -> None:
        with self._noting():
            self._segment.write(line)
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
            if not self.held():
                raise OSError("another driver has taken the study up, as this one was silent")
            self._segment.flush()
        self._flushed, self._waiting = time.monotonic(), False

    def close(self) -> None:
        """Flush and end the segment; a second call does nothing."""
        if not self._closed:
            self.flush()
            self._segment.close()
            self._closed = True

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            if self.broken is None:
                self.close()
        if self.broken is not None:
            where, why = self._segment.place, reason(self.broken)
            told = f"{where}: cannot be written ({why}); put that right, then go on with"
            raise BrokenError(f"{told} --resume {self.study}")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.broken = error
            raise

    _flushed, _waiting = float("-inf"), False


def read(folder: Place) -> Iterator[Entry]:
    """All entries of all segments, in order; a last line that a kill cut short is left out.

    What they hold is not looked at; `tuning.entries.read` does.

    Raises:
        ConfigError: a damaged line or an unknown version, by file and line.
    """
    return (entry for _, entry in located(folder))


def located(folder: Place) -> Iterator[tuple[str, Entry]]:
    """The entries that `read` gives, each with the file and line where it stands."""
    for path in segments(folder):
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({reason(error)})") from error
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
            yield f"{path}:{number}", entry


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False, separators=(",", ":")) + "\n"


def _entry(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None for a damaged one."""
    try:
        entry = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def refuse(name: str) -> None:
    """For `json.loads`: NaN and infinity, which are no JSON."""
    raise ValueError(f"{name} is no JSON")
