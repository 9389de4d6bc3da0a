"""The doctor's checks of data: original files, the cache, and what killed writers left."""

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from trainables.data.sources.originals import Originals

ADDRESS = re.compile("[0-9a-f]{64}")
Look = Iterator[tuple[str, Finding | None]]  # a set's name; what is wrong with it, None if nothing


def data_roots() -> Iterator[Finding]:
    """Which original files lie where, and whether they are whole and the original ones."""
    from trainables.data.noise.files import HUMAN
    from trainables.data.sources import ORIGINALS
    from trainables.data.sources.roots import roots

    files = [make() for make in ORIGINALS]
    seen: set[str] = set()
    folders = roots()
    for number, root in enumerate(folders):
        if root.resolve() in [before.resolve() for before in folders[:number]]:
            continue
        began, whole, ill = time.perf_counter(), [], []
        try:
            for name, flaw in looked(root, files):
                seen.add(name)
                if flaw is None:
                    whole.append(name)
                else:
                    ill.append(flaw)
        except OSError as error:
            told = f"{error.filename or root}: {error.strerror or error}"
            ill.append(warn("data root", told, "let this user read it"))
        if whole:
            took = f"checked in {time.perf_counter() - began:.1f} s"
            yield ok("data root", f"{root}: {', '.join(whole)}; {took}")
        elif not ill and number < len(folders) - 1:  # our own may be empty
            wanted = ", ".join(original.folder for original in files)
            yield warn("data root", f"{root}: no data set in it", f"it should hold one of {wanted}")
        yield from ill
    for original in files:
        for place in original.elsewhere:
            for name, flaw in published(original, place, folders[0]):
                seen.add(name)
                yield flaw or ok("data root", f"{place}: {name}")
    fetched = [x.name for x in files if x.published and x.name not in seen]
    if fetched:
        told = "downloaded on first use, where the network allows"
        yield ok("not here", f"{', '.join(fetched)}; {told}")
    others = [x.name for x in files if not x.published]
    others += ["animal-10n", "clothing1m", *dict.fromkeys(file for file, _ in HUMAN.values())]
    lost = [name for name in others if name not in seen]
    if lost:
        told = "to be put into a data root by hand, where they are wanted"
        yield ok("not here", f"{', '.join(lost)}; {told}")


def looked(root: Path, files: list["Originals"]) -> Look:
    """Every data set that a root holds, or a part of."""
    for original in files:
        yield from published(original, root / original.folder, root)
    yield from animals(root)
    yield from clothes(root)
    yield from human(root)


def published(original: "Originals", place: Path, root: Path) -> Look:
    """A set whose files have known checksums, in a folder.

    Args:
        original: the set.
        place: the folder; nothing is told where it is not there.
        root: into which its cure puts the files.
    """
    from trainables.data.sources.originals import present, verified
    from trainables.errors import ConfigError

    if not place.is_dir():
        return
    try:
        lost = original.missing(place)
        if lost:
            cure = original.cure.format(root=root)
            flaw = warn("data root", f"{place}: {original.name} lacks {', '.join(lost)}", cure)
            yield original.name, flaw
            return
        for name, checksum in original.checksums.items():
            verified(present(place, name) or place / name, checksum)
    except ConfigError as error:  # it names its cure
        yield original.name, warn("data root", str(error), "")
        return
    yield original.name, None


def animals(root: Path) -> Look:
    """ANIMAL-10N: as many files as there should be, by their names."""
    from trainables.data.sources import animal10n as its

    for place in filter(Path.is_dir, (root / folder for folder in its.FOLDERS)):
        flaw = None
        for part, size in its.SIZES.items():
            folder = place / part
            names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
            count = sum(its.NAME.fullmatch(name) is not None for name in names)
            if count != size and flaw is None:
                told = f"{folder}: animal-10n has {count:,} images here, the original {size:,}"
                flaw = warn("data root", told, f"unzip the raw image version of {its.SITE} anew")
        yield "animal-10n", flaw
        return


def clothes(root: Path) -> Look:
    """Clothing1M: its lists, and whether there are images; a million files are not looked at."""
    from trainables.data.sources import clothing1m as its

    for place in filter(Path.is_dir, (root / folder for folder in its.FOLDERS)):
        lost = [] if (place / "images").is_dir() else ["images"]
        for name in (*its.SIZES, *its.LABELS.values()):
            paths = (place / name, place / "annotations" / name)
            path = next(filter(Path.is_file, paths), None)
            if path is None:
                lost.append(name)
                continue
            with path.open("rb") as file:
                lines = sum(bool(line.strip()) for line in file)
            size = its.SIZES.get(name, lines)
            if lines != size or not lines:
                lost.append(f"{size - lines:,} lines of {path}" if lines else f"all of {path}")
        told = f"{place}: clothing1m lacks {', '.join(lost)}"
        flaw = warn("data root", told, f"unpack it anew, see {its.SITE}") if lost else None
        yield "clothing1m", flaw
        return


def human(root: Path) -> Look:
    """CIFAR-N's files of labels: readable, with a label for each image in each set."""
    from trainables.data.noise.files import FOLDERS, HUMAN, PROJECT
    from trainables.data.pickles import read_arrays
    from trainables.errors import ConfigError

    for name, keys in dict(HUMAN.values()).items():
        path = next(filter(Path.is_file, (root / folder / name for folder in FOLDERS)), None)
        if path is None:
            continue
        flaw, cure = None, f"take {name} of {PROJECT}"
        try:
            arrays = read_arrays(path)
        except ConfigError as error:
            flaw = warn("data root", str(error), "")
        else:
            wanted = ("clean_label", *keys.values())
            lost = [key for key in wanted if key not in arrays or len(arrays[key]) != 50_000]
            if lost:
                flaw = warn("data root", f"{path}: no 50,000 labels in {', '.join(lost)}", cure)
        yield name, flaw


def cache() -> Iterator[Finding]:
    """Every entry of the cache, read and compared with its checksums."""
    from trainables.data.cache import cached, verify
    from trainables.data.entry import read
    from trainables.data.sources.roots import home

    for name in cached():
        facts, flaw = read(home() / "data" / f"{name}.json")
        if facts is None:
            told = flaw or f"{name}: written by another version of noisetune"
            yield warn("cache", told, "nothing to do: it is written anew when it is needed")
            continue
        began = time.perf_counter()
        flaws = verify(name)
        for flaw in flaws:
            yield fail("cache", f"{name}: {flaw}", "")
        if not flaws:
            yield ok("cache", f"{name}: whole, checked in {time.perf_counter() - began:.1f} s")


def leftovers() -> Iterator[Finding]:
    """What a killed writer left, and arrays of the cache that no entry names."""
    from trainables.data.sources.roots import home, roots
    from trainables.errors import ConfigError

    data = home() / "data"
    drafts = {path: data / f"{path.stem}.json.lock" for path in data.glob("*.draft")}
    try:
        folders = roots()
    except ConfigError:  # told of by the check of data roots
        folders = [home() / "raw"]
    for root in folders:
        drafts |= {path: path.with_suffix(".lock") for path in root.glob(".*.draft")}
    for path, lock in sorted(drafts.items()):
        if held(lock):
            yield ok("cache", f"{path}: {megabytes(path)}, is being written now")
        else:
            yield left(path, "left by a writer that was killed")
    if any(map(held, data.glob("*.lock"))):
        return  # arrays come before the entry that names them
    named = {address_in(about) for about in data.glob("*.json")}
    for path in sorted(data.glob("*")) if data.is_dir() else ():
        if path.is_dir() and ADDRESS.fullmatch(path.name) and path.name not in named:
            yield left(path, "no entry of the cache names it")


def left(path: Path, why: str) -> Finding:
    cure = f"remove it: rm -r {shlex.quote(str(path))}"
    return warn("cache", f"{path}: {megabytes(path)}, {why}", cure)


def held(lock: Path) -> bool:
    """Whether a process holds a lock; none is made where there is none."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # this user cannot write there
        return False


def address_in(about: Path) -> str | None:
    """The folder that an entry names; None where it names none."""
    try:
        found = json.loads(about.read_text())
    except (OSError, ValueError):
        return None
    address = found.get("address") if isinstance(found, dict) else None
    return address if isinstance(address, str) else None


def megabytes(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:,.1f} MB"
