"""What a check found, and how a checklist is told."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "FAIL"]
COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}
NAMES = 16  # columns


@dataclass(frozen=True)
class Finding:
    """One line of a checklist.

    Attributes:
        name: of what was looked at.
        status: `FAIL` for what keeps a search from running, `warn` for what may spoil it.
        value: what was found.
        cure: what to do, where it is not ok.
    """

    name: str
    status: Status
    value: str
    cure: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(name: str, value: str) -> Finding:
    return Finding(name, "ok", value)


def warn(name: str, value: str, cure: str) -> Finding:
    return Finding(name, "warn", value, cure)


def fail(name: str, value: str, cure: str) -> Finding:
    return Finding(name, "FAIL", value, cure)


def found(name: str, check: Check) -> Iterator[Finding]:
    """What a check finds; whatever it raises is a finding, too."""
    try:
        yield from check()
    except Exception as error:  # a doctor must survive every illness, of libraries too
        told = " ".join(str(error).split()) or "no message"
        if type(error).__name__ == "ConfigError":  # it names its cure
            yield fail(name, told, "")
        else:
            cure = "mend or reinstall what this names; the checks after it went on"
            yield fail(name, f"{type(error).__name__}: {told}", cure)


def lines(finding: Finding, width: int | None) -> list[str]:
    """A finding as lines of at most `width` columns; as one line for None.

    >>> lines(Finding("home", "warn", "full", "make room"), None)
    ['warn  home: full (make room)']
    """
    if width is None:
        cure = f" ({finding.cure})" if finding.cure else ""
        return [f"{finding.status:<5} {finding.name}: {finding.value}{cure}"]
    gap = " " * (6 + NAMES)
    told = _wrapped(finding.value, f"{finding.status:<5} {finding.name:<{NAMES}}", gap, width)
    return told + (_wrapped(finding.cure, f"{gap}-> ", f"{gap}   ", width) if finding.cure else [])


def tell(finding: Finding) -> None:
    """Print a finding: in colour and folded on a terminal, as one plain line elsewhere."""
    if not sys.stdout.isatty():
        print(*lines(finding, None), flush=True)
        return
    first, *rest = lines(finding, max(50, min(100, shutil.get_terminal_size().columns)))
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        print(first, *rest, sep="\n")
        return
    colour = COLOURS[finding.status]
    text = Text(first)
    text.stylize(colour, 0, len(finding.status))
    for line in rest:
        text.append(f"\n{line}", "dim" if finding.status == "ok" else "")
    Console(highlight=False, soft_wrap=True).print(text)


def _wrapped(text: str, first: str, gap: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=gap,
        break_long_words=False,  # paths are for copying
        break_on_hyphens=False,
    )
