"""One driver a study: a lock that the death of its holder gives free.

On a disk the system's file lock is that. In an object store, which knows no locks, the holder
writes a lease every few seconds; whoever finds one watches it for a while and takes the study when
the lease does not change. No clock is compared with another machine's. Two drivers that begin
within the same second may both read their own lease; nothing that such a store offers through
pyarrow rules that out.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from trainables.errors import ConfigError
from tuning.places import Place, Remote, remove, write

BEAT = 5.0  # seconds between two renewals of a lease
WATCHED = 4 * BEAT  # a lease that stays the same so long is a dead driver's
SETTLED = 1.0  # seconds until a lease of somebody who came at the same moment is seen


@dataclass
class Claim:
    """A study held; `lost` once another driver has taken it from one that was silent for long."""

    lost: threading.Event = field(default_factory=threading.Event)


@contextmanager
def claimed(folder: Place) -> Iterator[Claim]:
    """Hold a study until the block ends.

    Raises:
        ConfigError: another driver holds it.
    """
    if isinstance(folder, Remote):
        with _leased(folder / "lease.json") as claim:
            yield claim
        return
    assert isinstance(folder, Path)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _taken(folder) from None
    try:
        yield Claim()  # the system takes no lock away
    finally:
        lock.release()


@contextmanager
def _leased(lease: Remote) -> Iterator[Claim]:
    end = time.monotonic() + WATCHED
    found = _read(lease)
    while found is not None and time.monotonic() < end:
        time.sleep(BEAT / 5)
        now = _read(lease)
        if now is not None and now != found:
            raise _taken(lease.parent)
        found = now
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "id": token_hex(8)}
    write(lease, _beat(mine, 0))
    time.sleep(SETTLED)
    if _read(lease) != _beat(mine, 0):
        raise _taken(lease.parent)
    claim, over = Claim(), threading.Event()
    renewing = threading.Thread(target=_renew, args=(lease, mine, claim, over), daemon=True)
    renewing.start()
    try:
        yield claim
    finally:
        over.set()
        renewing.join()
        with suppress(OSError):
            if not claim.lost.is_set():
                remove(lease)


def _renew(lease: Remote, mine: dict[str, object], claim: Claim, over: threading.Event) -> None:
    beat = 0
    while not over.wait(BEAT):
        with suppress(OSError):  # a store that is away for a while
            if _read(lease) != _beat(mine, beat):
                claim.lost.set()
                return
            write(lease, _beat(mine, beat + 1))
            beat += 1


def _beat(mine: dict[str, object], beat: int) -> bytes:
    return json.dumps(mine | {"beat": beat}).encode()


def _read(lease: Remote) -> bytes | None:
    try:
        return lease.read_bytes()
    except FileNotFoundError:
        return None


def _taken(folder: Place) -> ConfigError:
    return ConfigError(f"{folder}: another process is running this study; wait for it, or end it")
