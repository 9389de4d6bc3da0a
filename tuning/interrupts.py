"""Ctrl-C and SIGTERM, which end a search cleanly.

Python runs a signal's handler when the main thread comes back to it, and that thread may be waiting
in Ray for a minute. So a thread of its own hears of each signal at once, by the pipe that Python
writes signals' numbers into: it says that the search is stopping, and ends a process whose Ray was
ended by the same signal, as when a whole process group gets it.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = b"\nstopping; the same again ends it at once\n"
GONE = b"ended, as Ray was ended by the same signal; go on with --resume\n"
LOOKS, PAUSE = 3, 4.0  # so often, so many seconds apart, is Ray found dead before it is believed
INTERRUPTED = 130  # the exit code


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
    heard, told = os.pipe()
    os.set_blocking(told, False)
    wakeup = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    over = threading.Event()
    ears = threading.Thread(target=_hear, args=(heard, over), daemon=True)
    ears.start()
    flag.listen()
    try:
        yield flag
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(told)
        ears.join()
        os.close(heard)


def ray_died() -> bool:
    """Whether a process of a Ray that this one started has died."""
    worker = sys.modules.get("ray._private.worker")
    node = worker and worker._global_node
    return node is not None and bool(node.dead_processes())


def _hear(heard: int, over: threading.Event) -> None:
    """Answer the first signal; see to it that a process without its Ray does not stay.

    As after any kill, the journal holds what the next life needs.
    """
    while number := os.read(heard, 1):  # until the other end is closed
        if number[0] in SIGNALS:
            break
    else:
        return
    os.write(2, STOPPING)
    dead = 0
    while dead < LOOKS:
        if over.wait(PAUSE):
            return
        dead = dead + 1 if ray_died() else 0
    os.write(2, GONE)
    os._exit(INTERRUPTED)
