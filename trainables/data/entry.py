"""What the cache notes of a data set, and whether it still holds."""

import json
from hashlib import file_digest
from pathlib import Path
from typing import Any

FORMAT = 3  # of an entry; another number, another entry
Facts = dict[str, Any]


def read(about: Path) -> tuple[Facts | None, str | None]:
    """An entry's facts, where it is whole and of today's format; what is wrong with it, if so."""
    try:
        facts: Facts = json.loads(about.read_text())
        if facts["format"] != FORMAT:
            return None, None
        found = flaws(about.parent / facts["address"], facts["files"], deep=False)
    except FileNotFoundError:
        return None, None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, f"{about}: is damaged"
    return (None, found[0]) if found else (facts, None)


def flaws(folder: Path, files: dict[str, Facts], deep: bool) -> list[str]:
    """Files that are not what they were when they were written, a line each."""
    found = []
    for file, was in files.items():
        path = folder / file
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            found.append(f"{path}: is not there")
        elif size != was["size"]:
            found.append(f"{path}: has {size:,} bytes, not {was['size']:,}")
        elif deep:
            with path.open("rb") as opened:
                if file_digest(opened, "sha256").hexdigest() != was["sha256"]:
                    found.append(f"{path}: was altered, its checksum is another")
    return found
