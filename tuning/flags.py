"""What the command lines of this package have in common."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from trainables.errors import ConfigError
from trainables.paths import expanded

if TYPE_CHECKING:  # the doctor reads this file where pyarrow is broken
    from tuning.places import Place

DATA_ROOT = "where original files of data sets lie, in place of $NOISETUNE_DATA"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")


def use_data_root(text: str | None) -> None:
    """Look for original files there, in this process and in those it starts; None changes nothing.

    Raises:
        ConfigError: nothing is named, or nobody's home folder.
    """
    if text is None:
        return
    if not text.strip():
        raise ConfigError(f"--data-root {text!r}: name a folder, for example ~/data")
    os.environ["NOISETUNE_DATA"] = str(expanded(text, f"--data-root {text}").absolute())


def program(name: str) -> str:
    """A program of this Python's folder, as a person would call it from here."""
    mine = Path(sys.executable).parent / name
    return name if shutil.which(name) == str(mine) or not mine.exists() else shown_path(mine)


def shown_path(path: "Place") -> str:
    """A path as a person would type it from here; a URI as it is."""
    if not isinstance(path, Path):
        return shlex.quote(str(path))
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))
