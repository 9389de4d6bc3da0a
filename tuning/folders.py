"""The doctor's checks of folders: where studies go, and the home."""

import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from tuning.places import Place, Remote

PROBE_BYTES, FLUSHES = 16_000_000, 10
SLOW_FLUSH = 0.05  # seconds; the journal flushes after each decision
APART = 5.0  # seconds between two clocks
LITTLE = 2_000_000_000  # bytes: CIFAR's files, its cache and a study's checkpoints


def storage(text: str) -> Iterator[Finding]:
    """Write, flush, rename and read back, as a study does."""
    from tuning.places import Remote, place_of

    folder = place_of(text, "--storage")
    if isinstance(folder, Remote):
        yield from object_store(folder)
        return
    cure = "mend that, or choose another folder with --storage"
    began = time.monotonic()
    try:
        with visited(folder) as place:
            data = os.urandom(PROBE_BYTES)
            written = timed(lambda: flushed(place / "draft", data))
            renamed = timed(lambda: (place / "draft").rename(place / "probe"))
            read: list[bytes] = []
            back = timed(lambda: read.append((place / "probe").read_bytes()))
            flush = sum(timed(lambda: flushed(place / "small", b"0" * 200)) for _ in range(FLUSHES))
            locked(place / "lock")
            then = dated(place / "small")
            free = shutil.disk_usage(place).free
    except OSError as error:
        yield fail("storage", f"{folder}: {error.strerror or error}", cure)
        return
    if read != [data]:
        yield fail("storage", f"{folder}: what was written does not come back", cure)
        return
    each = flush / FLUSHES
    told = (
        f"{folder}: 16 MB written in {1e3 * written:.0f} ms, renamed in {1e3 * renamed:.1f}, read "
        f"back in {1e3 * back:.0f}; a flush takes {1e3 * each:.1f} ms; {free / 1e9:.1f} GB free"
    )
    if each > SLOW_FLUSH:
        yield warn("storage", told, "slow: each decision waits for a flush; prefer a local disk")
    elif free < LITTLE:
        yield warn("storage", told, "make room, or choose another folder with --storage")
    else:
        yield ok("storage", told)
    yield clock(folder, then, time.monotonic() - began)


def object_store(place: "Remote") -> Iterator[Finding]:
    """Put, list, read and delete an object, as a study does."""
    from tuning.places import children, reason, remove, write

    probe = place / f".noisetune-probe-{secrets.token_hex(8)}"
    data, began = os.urandom(PROBE_BYTES), time.monotonic()
    try:
        written = timed(lambda: write(probe, data))
        then = dated(probe)
        listed = timed(lambda: children(place, probe.name))
        read: list[bytes] = []
        back = timed(lambda: read.append(probe.read_bytes()))
        remove(probe)
    except OSError as error:
        cure = "check bucket, credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) and endpoint_override"
        yield fail("storage", f"{place}: {reason(error)}", cure)
        return
    if read != [data]:
        yield fail("storage", f"{place}: what was written does not come back", "use another store")
        return
    told = (
        f"{place}: 16 MB written in {1e3 * written:.0f} ms, read back in {1e3 * back:.0f}; listed "
        f"in {1e3 * listed:.0f}"
    )
    yield ok("storage", told)
    yield clock(place, then, time.monotonic() - began)


def clock(place: "Place", then: float, began: float) -> Finding:
    """This machine's against the one by which a place dates its files.

    Args:
        then: when a file there was written, by that clock.
        began: seconds ago, at most, that it was written.
    """
    now = time.time()
    apart = max(now - began - 1 - then, then - now, 0.0)  # object stores date to the second
    if apart > APART:
        when = "after" if then > now else "before"
        told = f"a new file in {place} is dated {apart:.0f} s {when} this machine's time"
        return warn("clock", told, "set both clocks: timedatectl set-ntp true")
    return ok("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, and the storage agrees")


def home_folder() -> Iterator[Finding]:
    """The folder of token and caches."""
    from trainables.data.sources.roots import home

    folder = home()
    cure = "set NOISETUNE_HOME to a folder that can be written"
    try:
        with visited(folder) as place:
            flushed(place / "probe", b"0" * 4096)
            free = shutil.disk_usage(place).free
    except OSError as error:
        yield fail("home", f"{folder}: {error.strerror or error}", cure)
        return
    told = f"{folder}: can be written, {free / 1e9:.1f} GB free"
    if free < LITTLE:
        yield warn("home", told, "CIFAR and its cache take up to 0.6 GB; make room")
    else:
        yield ok("home", told)
    yield token(folder / "ray_token")


def token(path: Path) -> Finding:
    """The token that lets into our Rays."""
    given = next((x for x in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(x)), None)
    if given == "RAY_AUTH_TOKEN":
        return ok("token", f"{given} is set, the home's is not used")
    if given is not None:
        path = Path(os.environ[given])
        if not path.is_file():
            return fail("token", f"{given} {path}: is no file", "name the token's, or unset it")
    if not path.exists():
        return ok("token", "none yet; the first search makes it")
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if hasattr(os, "getuid") and facts.st_uid != os.getuid():
        cure = "use a home of your own: NOISETUNE_HOME"
        return fail("token", f"{path}: belongs to another user", cure)
    if mode != 0o600:
        return warn("token", f"{path}: mode {mode:04o}, others can read it", f"chmod 600 {path}")
    return ok("token", f"{path}: mode 0600")


@contextmanager
def visited(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, and nothing left behind, not even folders made for it."""
    made: list[Path] = []
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.exists():
                path.mkdir()
                made.append(path)
        with tempfile.TemporaryDirectory(prefix=".noisetune-", dir=folder) as place:
            yield Path(place)
    finally:
        for path in reversed(made):
            path.rmdir()


def flushed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def locked(path: Path) -> None:
    """Some shared file systems know no locks; a search needs one."""
    from filelock import FileLock

    with FileLock(path, timeout=5):
        pass


def dated(place: "Place") -> float:
    """When a file was last written, in seconds since 1970, by its store's clock."""
    if isinstance(place, Path):
        return place.stat().st_mtime
    found: float = place.fs.get_file_info(str(place.key)).mtime.timestamp()
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
