"""What ended a trial, told from what Ray wrote: a want of memory, a kill, a disk, or a bug."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tuning.record import Record

FAILURE = "Failure # "  # what Tune begins each failure of a trial with, in one file
LENGTH, SAID = 500, 200  # characters of an error, and of the message within it


@dataclass(frozen=True)
class Fault:
    """A kind of failure that is no bug.

    Attributes:
        kind: what it was, in a few words.
        marks: what only its messages hold.
        cure: what would help.
        heals: whether the same trial may get through if it is tried again and again.
        speaks: whether the message tells more than the kind does.
    """

    kind: str
    marks: str
    cure: str
    heals: bool = True
    speaks: bool = True


STORAGE = Fault(
    "storage",
    r"\[errno (5|28|30|107|116|122)\]"  # failing, full, read-only, away, stale, over quota
    r"|OSError: .*(AWS Error|google::cloud|GCS)",
    "put that right",
)
# Ray's message of any killed process names the system's want of memory among possible causes, so
# what is certain is looked for first.
FAULTS = (
    Fault(
        "out of GPU memory",
        r"^\S*OutOfMemoryError: CUDA|CUDA out of memory|CUDA error: out of memory|_ALLOC_FAILED",
        "a larger share of the GPU, as --gpus 0.5 instead of 0.25, or a smaller optim.batch",
        heals=False,
    ),
    Fault(
        "ended by Ray, as its machine ran out of memory",
        r"low on memory|NODE_OUT_OF_MEMORY",
        "a lower --concurrency, or more --cpus for each trial",
        speaks=False,
    ),
    Fault(
        "out of memory",
        r"DefaultCPUAllocator: |^\S*MemoryError\b|std::bad_alloc|cannot allocate memory",
        "a lower --concurrency, or a smaller optim.batch or model",
        heals=False,
    ),
    STORAGE,
    Fault(
        "its machine went away",
        r"its node has died|node has crashed|NodeDiedError|node was terminated|node is dead",
        "--retry-failed tries it again elsewhere",
        speaks=False,
    ),
    Fault(
        "its process was killed",
        r"worker process has died|actor died unexpectedly|worker died unexpectedly",
        "as systems do when memory is short: a lower --concurrency, or more --max-failures",
        speaks=False,
    ),
)


def told(text: str) -> str:
    """One line about a trial's last failure: what it was, and what would help.

    Args:
        text: what Tune wrote about all failures of the trial, tracebacks among them.

    >>> told("MemoryError: Unable to allocate 8 TiB").partition(" (")[0]
    'out of memory: MemoryError: Unable to allocate 8 TiB'
    """
    lines = _newest(text).splitlines()
    fault = fault_of(text)
    if fault is None:
        return (lines or ["ended without a message"])[-1].strip()[:LENGTH]
    if not fault.speaks:
        return f"{fault.kind} ({fault.cure})"
    marked = (line for line in reversed(lines) if _marked(fault, line))
    said = next(marked, (lines or [""])[-1]).strip()
    return f"{fault.kind}: {said[:SAID]} ({fault.cure})"


def fault_of(text: str) -> Fault | None:
    """The kind of a trial's last failure; None for what looks like a bug."""
    return next((fault for fault in FAULTS if _marked(fault, _newest(text))), None)


def counted(records: Iterable[Record]) -> str:
    """How many trials failed of what, the most frequent first; empty when none did.

    >>> counted([Record("ce-0000", "ce", 0, {}, {}, status="failed", error="ValueError: 3")])
    'failed: 1 ValueError'
    """
    errors = [record.error or "no message" for record in records if record.status == "failed"]
    kinds = Counter(re.split(r": | \(", error)[0].rpartition(".")[2] for error in errors)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"failed: {listed}" if listed else ""


def fallen(record: Record) -> str:
    """The note about a trial whose newest report came after an older checkpoint than it was due."""
    last = record.newest["report"] - 1
    went = f"it went on from report {last}" if last else "it started again"
    return f"{record.name}: its newest checkpoint was not whole; {went}"


def standing() -> bool:
    """Whether Ray, where it was started, has a machine to run on; Tune would wait for ever."""
    import ray

    return not ray.is_initialized() or any(node["Alive"] for node in ray.nodes())


def _newest(text: str) -> str:
    """What is told of the last failure, without the line that counts and dates it."""
    _, counts, last = text.rpartition(FAILURE)
    return (last.partition("\n")[2] if counts else last).strip()


def _marked(fault: Fault, text: str) -> bool:
    return re.search(fault.marks, text, re.MULTILINE | re.IGNORECASE) is not None
