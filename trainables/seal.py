"""Whole or not: a checkpoint folder is believed only as far as its seal vouches for it.

The seal lists every file with its size and sha256 and is written last. A folder that two processes
wrote into, or that was cut short by a kill, has files that no seal names or that differ from it.
"""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Protocol

SEAL = "seal.json"


class Folder(Protocol):
    """A folder, wherever it lies, and whatever lies in it."""

    def __truediv__(self, name: str, /) -> "Folder": ...
    def read_bytes(self) -> bytes: ...


def seal(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files and then the seal that names them, each flushed to disk."""
    facts = {name: [len(data), sha256(data).hexdigest()] for name, data in files.items()}
    for name, data in {**files, SEAL: json.dumps(facts).encode()}.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def sealed(folder: Folder) -> dict[str, bytes] | None:
    """The files that the seal names, checked; None unless all of them are there and whole.

    Raises:
        OSError: the storage does not give them, which says nothing of what they hold.
    """
    try:
        facts = json.loads((folder / SEAL).read_bytes())
        if not isinstance(facts, dict):
            return None
        files = {name: (folder / name).read_bytes() for name in facts if Path(name).name == name}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (ValueError, TypeError, RecursionError):
        return None
    whole = len(files) == len(facts) and all(
        facts[name] == [len(data), sha256(data).hexdigest()] for name, data in files.items()
    )
    return files if whole else None
