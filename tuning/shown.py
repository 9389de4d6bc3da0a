"""How numbers, names and tables are written for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [duration(x) for x in (42.4, 200, 7500, 200_000)]
    ['42 s', '3 min 20 s', '2 h 05 min', '2 d 7 h']
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def table_of(heads: Sequence[str], cells: Iterable[Sequence[str]], *, fold: bool = False) -> Table:
    """Names to the left, cut or folded where they do not fit, and numbers to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        right = head not in ("chain", "running", "best trial")
        side: JustifyMethod = "right" if right else "left"
        table.add_column(head, justify=side, no_wrap=right, overflow="fold" if fold else "ellipsis")
    for row in cells:
        table.add_row(*map(Text if fold else cut, row))
    return table


def cut(text: str, style: str = "") -> Text:
    """One line of text, cut where it does not fit."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def score_of(value: float | None) -> str:
    """A score to four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def value_of(value: Any) -> str:
    """A hyperparameter; a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
