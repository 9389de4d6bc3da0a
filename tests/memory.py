"""A place in an object store that lives in this process's memory."""

from pathlib import PurePosixPath

from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from tuning.places import Remote


class Objects(MemoryFileSystem):
    """fsspec's memory, of which each instance is a store of its own."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, object] = {}
        self.pseudo_dirs = [""]


def bucket() -> Remote:
    """An empty bucket."""
    system = fs.PyFileSystem(fs.FSSpecHandler(Objects()))
    return Remote(system, PurePosixPath("bucket"), "s3")
