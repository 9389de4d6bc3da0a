"""What every benchmark says of the machine it ran on, and how it states a spread."""

import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine() -> str:
    """One line: date, processor, cores, load, device and versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    flags = info.read_text() if info.exists() else ""
    wide = "AVX-512, " if "avx512f" in flags else ""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(map(_version, ("torch", "ray", "optuna")))
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu} ({wide}{os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}), {device}, Python {platform.python_version()}, {versions}"
    )


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # a machine that only trains needs no Ray
        return f"no {name}"


def clock() -> float:
    """Seconds of a clock, once the GPU has done what it was told to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def spread(values: Sequence[float], form: str) -> str:
    """Median and range, `form` as in a format string.

    >>> spread([1.0, 3.0, 2.0], ".1f")
    '2.0 (1.0 - 3.0)'
    """
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} - {high:{form}})"
