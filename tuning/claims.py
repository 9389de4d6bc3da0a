"""One driver a study: a lock that the death of its holder gives free.

On a disk the system's file lock is that. In an object store, which knows no locks, the holder
writes a lease every few seconds; whoever finds one watches it for a while and takes the study when
the lease does not change. No clock is compared with another machine's. A holder that was silent for
so long that another may have come looks at the lease before it writes anything else. Two drivers
that begin within the same second may both read their own lease, and one may be stopped between its
look and its writing; nothing that such a store offers through pyarrow rules that out.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from trainables.errors import ConfigError
from tuning.places import Place, Remote, remove, write

BEAT = 5.0  # seconds between two renewals of a lease
WATCHED = 4 * BEAT  # a lease that stays the same so long is a dead driver's
SETTLED = 1.0  # seconds until a lease of somebody who came at the same moment is seen


class Claim:
    """A study held by this driver, for good: the system takes no lock away."""

    def held(self) -> bool:
        """Whether it is still this driver's; ask before anything is written."""
        return True


class Lease(Claim):
    """A study held in an object store, as long as this driver renews what it wrote there.

    Args:
        place: of the lease.
    """

    def __init__(self, place: Remote) -> None:
        self.place = place
        self.mine = {"host": socket.gethostname(), "pid": os.getpid(), "id": token_hex(8)}
        self.lost = threading.Event()
        self._one = threading.Lock()
        self._beat, self._sure = 0, 0.0  # how often it was written, and when that was last certain

    def held(self) -> bool:
        """Whether it is still this driver's: certain for a while after each renewal.

        Raises:
            OSError: the store does not tell.
        """
        if not self.lost.is_set() and clock() - self._sure >= WATCHED - BEAT:
            self.renew()
        return not self.lost.is_set()

    def renew(self) -> None:
        """Write the lease again, unless another driver has taken the study.

        Raises:
            OSError: the store does not answer.
        """
        with self._one:
            if self.lost.is_set() or (self._beat and not self.stands()):
                self.lost.set()
                return
            began = clock()
            self._beat += 1  # first, as what fails may have been written all the same
            write(self.place, json.dumps(self.mine | {"beat": self._beat}).encode())
            self._sure = began

    def stands(self) -> bool:
        """Whether the lease there is this driver's."""
        try:
            return bool(json.loads(_read(self.place) or b"{}").get("id") == self.mine["id"])
        except (ValueError, AttributeError):
            return False


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
    claim, over = Lease(lease), threading.Event()
    claim.renew()
    time.sleep(SETTLED)
    if not claim.stands():
        raise _taken(lease.parent)
    renewing = threading.Thread(target=_renew, args=(claim, over), daemon=True)
    renewing.start()
    try:
        yield claim
    finally:
        over.set()
        renewing.join()
        with suppress(OSError):
            if not claim.lost.is_set():
                remove(lease)


def _renew(claim: Lease, over: threading.Event) -> None:
    while not (claim.lost.is_set() or over.wait(BEAT)):
        with suppress(OSError):  # a store that is away for a while
            claim.renew()


def clock() -> float:
    """Seconds, which go on while a machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _read(lease: Remote) -> bytes | None:
    try:
        return lease.read_bytes()
    except FileNotFoundError:
        return None


def _taken(folder: Place) -> ConfigError:
    return ConfigError(f"{folder}: another process is running this study; wait for it, or end it")
