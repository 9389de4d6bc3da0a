"""What each trial gets of the machines, and how many trials fit at a time."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainables.errors import ConfigError
from tuning.session import Node, cores


@dataclass(frozen=True)
class Resources:
    """Of one trial, and how many run at a time."""

    cpus: float
    gpus: float
    concurrency: int

    @property
    def sharing(self) -> int:
        """How many trials are on one GPU at a time; Ray fills one before it takes the next."""
        return min(_on_one(self.gpus), self.concurrency) if self.gpus else 0

    @property
    def lanes(self) -> int:
        """How many trials run at a time without taking turns, at least."""
        return -(-self.concurrency // self.sharing) if self.gpus else self.concurrency


def local_resources(args: Namespace) -> Resources:
    """What trials get on this machine.

    Raises:
        ConfigError: more than there is.
    """
    return fitting(args, [(cores(), torch.cuda.device_count())], "this machine")


def cluster_resources(args: Namespace, nodes: Sequence[Node]) -> Resources:
    """What trials get on a running cluster; ConfigError when no node has as much."""
    if not any(cpus for cpus, _ in nodes):
        raise ConfigError(
            f"--address {args.address}: no worker of this cluster is up yet (wait until ray status "
            "shows CPUs)"
        )
    return fitting(args, nodes, f"no node of the cluster at {args.address}")


def fitting(args: Namespace, nodes: Sequence[Node], where: str) -> Resources:
    """The asked for or usual resources of a trial, and as many trials as fit."""
    most_cpus, most_gpus = (max(column) for column in zip(*nodes, strict=True))
    cpu = 1.0 if args.cpus is None else args.cpus
    gpu = min(1.0, most_gpus) if args.gpus is None else args.gpus
    for flag, asked, there in (("--cpus", cpu, most_cpus), ("--gpus", gpu, most_gpus)):
        if asked > there:
            more = "has more than" if where.startswith("no ") else "has"
            raise ConfigError(f"{flag} {asked:g}: {where} {more} {there:g} (ask for less)")
    fit = sum(int(min(cpus / cpu, gpus / gpu if gpu else cpus / cpu)) for cpus, gpus in nodes)
    if not fit:
        raise ConfigError(f"--cpus {cpu:g} --gpus {gpu:g}: {where} has both (ask for less)")
    return Resources(cpu, gpu, min(args.concurrency or fit, fit))


def refuse_crowding(resources: Resources, need: float, total: int) -> None:
    """Refuse a fraction of a GPU that cannot hold what its trial copies there.

    Args:
        resources: what trials get.
        need: bytes of a trial on a GPU, at least.
        total: bytes of the smallest GPU.

    Raises:
        ConfigError: so many trials do not fit on one GPU; names how many do.
    """
    many, most = resources.sharing, int(total / need)
    if many < 2 or most >= many:
        return
    cure = f"at most {most}: --gpus {share(most)}" if most else "choose a smaller model"
    if resources.concurrency == many and most:
        cure += f" or --concurrency {most}"
    raise ConfigError(
        f"--gpus {resources.gpus:g}: {many} trials need {many} x {gibibytes(need)} on a GPU of "
        f"{gibibytes(total)} ({cure})"
    )


def share(trials: int) -> str:
    """The fraction of a GPU, rounded, at which so many trials and no more share it.

    >>> [share(trials) for trials in (1, 3, 7, 30)]
    ['1', '0.33', '0.14', '0.033']
    """
    digits = 2
    while _on_one(found := 10**digits // trials / 10**digits) != trials:
        digits += 1
    return f"{found:g}"


def gibibytes(size: float) -> str:
    """Bytes, as the makers of GPUs count them.

    >>> gibibytes(2.1 * 2**30)
    '2.1 GiB'
    """
    return f"{size / 2**30:.1f} GiB"


def megabytes(size: float) -> str:
    """Bytes in a unit that suits them.

    >>> [megabytes(size) for size in (41_960, 2_345_678, 123_456_789, 22_400_000_000)]
    ['42 kB', '2.3 MB', '123 MB', '22.4 GB']
    """
    if size < 1e5:
        return f"{size / 1e3:.0f} kB"
    if size < 1e9:
        return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB"


def gpu_memory() -> int | None:
    """Bytes of this machine's smallest GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    count = torch.cuda.device_count()
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(count))


def free_memory() -> int | None:
    """Bytes of memory that this process's machine or container has left; None if it cannot tell."""
    found = [free for free in (_available(), _below_limit()) if free is not None]
    return min(found) if found else None


def _on_one(gpus: float) -> int:
    return max(1, int(1 / gpus + 1e-6))


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    facts = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    return int(facts["MemAvailable"]) * 1024


def _below_limit() -> int | None:
    """What a container's limit leaves; its page cache can be given back and counts as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return max(0, limit - used + int(facts.get("inactive_file", 0)))


class PrivatePeak:
    """Bytes that the block took at most and that no other process shares.

    Attributes:
        size: of the block, once it has ended; None where the system does not tell.
    """

    size: int | None = None

    def __enter__(self) -> "PrivatePeak":
        self._before = self._status()
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None and (after := self._status(reset=False)) is not None:
            peak = after["VmHWM"] - after["RssFile"] - after["RssShmem"]
            self.size = max(0, peak - self._before["RssAnon"])

    def _status(self, reset: bool = True) -> dict[str, int] | None:
        """This process's memory by kind, in bytes; `reset` makes the peak what there is now."""
        if sys.platform != "linux":
            return None
        try:
            if reset:
                Path("/proc/self/clear_refs").write_text("5")
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return None
        parts = (line.split() for line in lines if line.endswith(" kB"))
        return {name.rstrip(":"): int(size) * 1024 for name, size, _ in parts}
