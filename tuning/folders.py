"""The doctor's checks of folders: where studies go, and the home."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuning.findings import Finding, fail, ok, warn

PROBE_BYTES, FLUSHES = 16_000_000, 10
SLOW_FLUSH = 0.05  # seconds; the journal flushes after each decision
LITTLE = 2_000_000_000  # bytes: CIFAR's files, its cache and a study's checkpoints


def storage(text: str) -> Iterator[Finding]:
    """Write, flush, rename and read back, as a study does."""
    from tuning.store import storage_folder

    folder = storage_folder(text)
    cure = "mend that, or choose another folder with --storage"
    try:
        with visited(folder) as place:
            data = os.urandom(PROBE_BYTES)
            written = timed(lambda: flushed(place / "draft", data))
            renamed = timed(lambda: (place / "draft").rename(place / "probe"))
            read: list[bytes] = []
            back = timed(lambda: read.append((place / "probe").read_bytes()))
            flush = sum(timed(lambda: flushed(place / "small", b"0" * 200)) for _ in range(FLUSHES))
            locked(place / "lock")
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
    if given is not None:
        return ok("token", f"{given} is set, the home's is not used")
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


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
