"""Signals: answered at once, the first cleanly, the second hard; a lost Ray is not waited for."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tuning.interrupts import INTERRUPTED, Interrupt, interruptible

SCRIPT = """
import os, signal, sys, time
from tuning import interrupts

interrupts.PAUSE = 0.1
interrupts.ray_died = lambda: {died}
with interrupts.interruptible() as flag:
    print("ready", flush=True)
    end = time.monotonic() + 60
    signal.pthread_sigmask(signal.SIG_BLOCK, [])  # a call after which a handler may run
    while not flag.raised and time.monotonic() < end:
        time.sleep(0.01)
    {then}
print("over", flush=True)
"""


def run(number: int, died: bool, then: str = "pass") -> tuple[int, str, str]:
    """A process that gets a signal: its exit code, and what it printed."""
    script = SCRIPT.format(died=died, then=then)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_and_the_block_comes_to_its_end(number: int) -> None:
    assert run(number, died=False) == (0, "over\n", "\nstopping; the same again ends it at once\n")


def test_a_process_without_its_ray_does_not_stay() -> None:
    """It waits in Ray, whose own processes the signal has ended."""
    code, out, err = run(signal.SIGTERM, died=True, then="time.sleep(60)")
    assert (code, out) == (INTERRUPTED, "")
    assert err.endswith("ended, as Ray was ended by the same signal; go on with --resume\n")


def test_a_ray_that_is_shut_down_in_good_order_is_not_missed() -> None:
    code, out, _ = run(signal.SIGTERM, died=True, then="time.sleep(0.15)")
    assert (code, out) == (0, "over\n")


def test_the_second_signal_ends_it_at_once() -> None:
    flag = Interrupt()
    flag(signal.SIGINT, None)
    assert flag.raised
    with pytest.raises(KeyboardInterrupt):
        flag(signal.SIGINT, None)


def test_everything_is_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    files = len(os.listdir("/proc/self/fd"))
    with interruptible() as flag:
        assert signal.getsignal(signal.SIGTERM) is flag
        time.sleep(0.01)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert len(os.listdir("/proc/self/fd")) == files
