"""Where the time of a run goes, by torch's profiler."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

TOP = 10


@dataclass(frozen=True)
class Profile:
    """What a run consisted of; (name, seconds, calls), the longest first.

    Attributes:
        busy: seconds in which the GPU computed or copied; 0 without one.
        kernels: what it did then.
        host: what the processor did itself, operators called from there not counted.
    """

    busy: float
    kernels: list[tuple[str, float, int]]
    host: list[tuple[str, float, int]]


def profiled(run: Callable[[], object]) -> Profile:
    """Profile a run. It takes longer than without a profiler: its shares count, not its time."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    events: list[Any] = list(found.key_averages())
    # an annotation such as Optimizer.step spans kernels that are listed themselves
    kernels = [
        (event.key, event.self_device_time_total / 1e6, event.count)
        for event in events
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    host = [
        (event.key, event.self_cpu_time_total / 1e6, event.count)
        for event in events
        if event.device_type.name == "CPU"
    ]
    return Profile(sum(seconds for _, seconds, _ in kernels), _longest(kernels), _longest(host))


def _longest(rows: list[tuple[str, float, int]]) -> list[tuple[str, float, int]]:
    return sorted(rows, key=lambda row: -row[1])


def table(title: str, rows: list[tuple[str, float, int]], count: int) -> Iterable[str]:
    """The top rows in Markdown, by share of all rows, with calls per step.

    Args:
        title: of the first column.
        rows: (name, seconds, calls).
        count: steps that were profiled.
    """
    total = sum(seconds for _, seconds, _ in rows)
    yield f"| {title} | share | ms/step | calls/step |"
    yield "|---|---|---|---|"
    for name, seconds, calls in rows[:TOP]:
        share, each = seconds / total, 1e3 * seconds / count
        yield f"| {name[:70]} | {share:.3f} | {each:.3f} | {calls / count:.1f} |"
