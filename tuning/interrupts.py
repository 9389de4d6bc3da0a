"""Ctrl-C and SIGTERM, which end a search cleanly."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interrupt:
    """Ctrl-C and SIGTERM: the first one ends the run cleanly, the second at once."""

    raised: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def listen(self) -> None:
        """Take the signals, also from whoever took them meanwhile; in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Catch Ctrl-C and SIGTERM until the end of the block."""
    flag = Interrupt()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    flag.listen()
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
