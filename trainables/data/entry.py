"""What the cache notes of a data set, and whether it still holds."""

import json
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from trainables.data.arrays import Written
from trainables.data.strong import Strong
from trainables.data.views import View

FORMAT = 4  # of an entry; another number, another entry
ARRAYS = ("images", "labels", "test_images")
Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Position = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class Entry:
    """The facts of a data set; an address is also the name of the folder that holds its arrays.

    Attributes:
        format: FORMAT.
        address: sha256 of the arrays, in hex.
        classes: K names.
        mean, std: C numbers each, of the training source in [0, 1].
        view: how a training image may be moved.
        strong: how it may be changed strongly.
        validation: positions that the source sets aside for validation, if it does.
        files: what each array's file was when it was written, by the file's name.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")
    format: int
    address: Digest
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    view: View
    strong: Strong
    validation: tuple[Position, ...] | None
    files: dict[str, Written]

    def __post_init__(self) -> None:
        if set(self.files) != {f"{array}.npy" for array in ARRAYS}:
            raise ValueError("other files than a data set has")
        channels = len(self.mean)
        if len(self.std) != channels or len(self.strong.hole) not in (1, channels):
            raise ValueError("numbers that no data set has")


ENTRY = TypeAdapter(Entry)


def read(about: Path) -> tuple[Entry | None, str | None]:
    """An entry, where it is whole and of today's format; what is wrong with it, if so.

    Raises:
        OSError: it cannot be read.
    """
    try:
        data = about.read_bytes()
        facts = json.loads(data)
        if facts["format"] != FORMAT:
            return None, None
        entry = ENTRY.validate_json(data)
        if ENTRY.dump_python(entry, mode="json") != facts:
            raise ValueError("a field of a view is missing, and would be its default")
    except FileNotFoundError:
        return None, None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, f"{about}: is damaged"
    found = flaws(about.parent / entry.address, entry.files, deep=False)
    return (None, found[0]) if found else (entry, None)


def flaws(folder: Path, files: dict[str, Written], deep: bool) -> list[str]:
    """Files that are not what they were when they were written, a line each."""
    found = []
    for file, was in files.items():
        path = folder / file
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            found.append(f"{path}: is not there")
        elif size != was.size:
            found.append(f"{path}: has {size:,} bytes, not {was.size:,}")
        elif deep:
            with path.open("rb") as opened:
                if file_digest(opened, "sha256").hexdigest() != was.sha256:
                    found.append(f"{path}: was altered, its checksum is another")
    return found
