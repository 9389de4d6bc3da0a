"""Where things lie: what noisetune keeps between runs, and the original files of data sets.

The home is $NOISETUNE_HOME, else `noisetune` in the user's cache folder. Data roots are
$NOISETUNE_DATA, if set, and <home>/raw; data sets lie in them as torchvision lays them out.
"""

import math
import os
from pathlib import Path

import numpy as np

from trainables.errors import ConfigError
from trainables.paths import expanded


def home() -> Path:
    """The folder of everything noisetune keeps between runs.

    Raises:
        ConfigError: no variable names it, and the user has no home folder.
    """
    given = os.environ.get("NOISETUNE_HOME")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    folder = Path(cache) if cache else expanded("~/.cache", "NOISETUNE_HOME: is not set")
    return folder / "noisetune"


def roots() -> list[Path]:
    """The folders in which original files are looked for, in this order.

    The last one, <home>/raw, need not be there yet.

    Raises:
        ConfigError: NOISETUNE_DATA is not a folder that can be read, or nobody's home.
    """
    given = os.environ.get("NOISETUNE_DATA")
    own = home() / "raw"
    if not given:
        return [own]
    root = expanded(given, f"NOISETUNE_DATA = {given}").absolute()
    try:
        os.listdir(root)
    except FileNotFoundError as error:
        raise ConfigError(
            f"data root {root}: no such folder (make it, or name another by --data-root or "
            "NOISETUNE_DATA)"
        ) from error
    except NotADirectoryError as error:
        raise ConfigError(
            f"data root {root}: is not a folder (name the folder that it lies in by --data-root "
            "or NOISETUNE_DATA)"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"data root {root}: {error.strerror or error} (let this user read it, or name another "
            "by --data-root or NOISETUNE_DATA)"
        ) from error
    return [root, own]


def draft(name: str) -> Path:
    """The folder in which a cache entry is being written; it is there while the source is read.

    What a source leaves in it as `images.npy`, `labels.npy` or `test_images.npy`, and gives as a
    map of the whole file, is kept as it is, not copied. A failure removes the folder.
    """
    return home() / "data" / f"{name}.draft" / "arrays"


def reserved(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file of uint8 zeros, to be filled in place: for arrays larger than memory.

    Raises:
        OSError: no room for all of it. It is found out here, since writing into a map of a full
            disk kills the process.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), file.tell(), math.prod(shape))
        else:
            file.truncate(file.tell() + math.prod(shape))
    return np.lib.format.open_memmap(path, mode="r+")
