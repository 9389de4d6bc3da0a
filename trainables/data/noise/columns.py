"""A column of numbers out of a CSV file."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.errors import ConfigError

LABEL, INDEX = "label", "index"  # columns that are known by their names


def column(path: Path, key: str | None) -> npt.NDArray[np.float64]:
    """The labels in a table, in the order of its column `index` where it has one, from 0 on.

    Args:
        path: a table of one column, or with a first line that names its columns.
        key: the column's name; `label` when left out, or the only column but `index`.

    Raises:
        ConfigError: no such column, a cell that is no number, an index that is no order.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark first
        reader = csv.reader(file)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    if not lines:
        raise ConfigError(f"{path}: is empty (give a label on each line)")
    names = lines[0][1]
    headed = not all(map(_is_number, names))
    where = _where(names if headed else [LABEL] * len(names), key, path)
    body = lines[1:] if headed else lines
    labels = _numbers(body, where, path)
    if not headed or INDEX not in names:
        return labels
    index = _numbers(body, names.index(INDEX), path)
    if not np.array_equal(np.sort(index), np.arange(len(index))):
        raise ConfigError(
            f"{path}: its column {INDEX} does not hold each of 0 to {len(index) - 1} once (number "
            "the images of the training source from 0)"
        )
    return labels[np.argsort(index)]


def _where(names: list[str], key: str | None, path: Path) -> int:
    others = [name for name in names if name != INDEX]
    wanted = others[0] if key is None and len(others) == 1 else key or LABEL
    if names.count(wanted) != 1:
        field = "noise.key: is missing" if key is None else f"noise.key = {key}"
        raise ConfigError(f"{field}: {path} has the columns {', '.join(names)} (name one of them)")
    return names.index(wanted)


def _numbers(lines: list[tuple[int, list[str]]], where: int, path: Path) -> npt.NDArray[np.float64]:
    values = np.empty(len(lines))
    for i, (line, cells) in enumerate(lines):
        try:
            values[i] = float(cells[where])
        except (ValueError, IndexError):
            told = cells[where] if where < len(cells) else "nothing"
            raise ConfigError(
                f"{path}, line {line}: {told!r} is no number (give a whole number)"
            ) from None
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
