"""A bar on standard error for work that takes longer than a second."""

import sys
import time
from types import TracebackType
from typing import Any

PATIENCE = 1.0  # seconds of silence


class Meter:
    """Shows how much is done: a bar on a terminal, one line elsewhere, nothing when it is quick.

    Args:
        what: is being done.
        total: bytes, or whatever else is counted.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._start, self._told = time.monotonic(), False
        self._bar: Any = None

    def add(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        if not self._told and time.monotonic() - self._start > PATIENCE:
            self._told = True
            self._show()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        if not sys.stderr.isatty():
            print(f"{self._what} ...", file=sys.stderr, flush=True)
            return
        from rich.console import Console  # training needs no rich
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._what, total=self._total)
        self._bar.start()
