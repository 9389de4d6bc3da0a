"""Search for half an hour, one short digits trial after the other: does anything grow?

    python -m benchmarks.soak --minutes 30

A real `tuning.search` runs in a process of its own, with two trials at a time. Every few seconds
the memory (resident, and its private part), open files and threads of the driver and of the trial
actors are read from /proc, and folders in the temporary places counted. Slopes are least squares
over the samples after a fifth of the time, when everything is imported and the first trials have
ended. Linux only.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.machine import machine

SAMPLE = 5.0  # seconds
WARM = 0.2  # share of the time before slopes count
Numbers = dict[str, float]


def command(minutes: float, folder: Path) -> list[str]:
    flags = ["--method", "mr,reset", "--task", "digits", "--name", "soak", "--trials", "100000"]
    flags += ["--time", f"{minutes * 60:.0f}s", "--concurrency", "2", "--set", "epochs=5"]
    return [sys.executable, "-m", "tuning.search", *flags, "--storage", str(folder)]


def family(parent: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = [], [parent]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def actors(parent: int) -> list[int]:
    """Those that run trials; Ray's idle workers and agents are none."""
    return [pid for pid in family(parent) if "Trainable" in title(pid)]


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def state(pid: int) -> Numbers:
    """MiB, private MiB, open files and threads of a process; empty when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        memory = {"MiB": int(status["VmRSS"].split()[0]) / 1024}
        private = sum(int(status[name].split()[0]) for name in ("RssAnon", "RssShmem"))
        memory["own MiB"] = private / 1024
        files = float(len(os.listdir(folder / "fd")))
        return {**memory, "files": files, "threads": float(status["Threads"])}
    except (OSError, KeyError):
        return {}


def folders(*places: Path) -> float:
    """How many folders lie below."""
    return float(sum(len(found) for place in places for _, found, _ in os.walk(place)))


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least squares slope of y over x, and its standard error.

    >>> slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    (2.0, 0.0)
    """
    n = len(xs)
    mx, my = math.fsum(xs) / n, math.fsum(ys) / n
    over = math.fsum((x - mx) ** 2 for x in xs)
    found = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / over
    rest = math.fsum((y - my - found * (x - mx)) ** 2 for x, y in zip(xs, ys, strict=True))
    return found, math.sqrt(rest / max(1, n - 2) / over)


def sample(driver: int, places: Sequence[Path], study: Path) -> Numbers:
    """All that is watched, now."""
    found = {f"driver {name}": value for name, value in state(driver).items()}
    running = [numbers for pid in actors(driver) if (numbers := state(pid))]
    found["actors"] = float(len(running))
    for name in ("MiB", "own MiB", "files", "threads"):
        if running:
            found[f"actor {name}"] = max(numbers[name] for numbers in running)
    found["temp folders"] = folders(*places)
    found["study folders"] = folders(study)
    return found


def watch(
    process: subprocess.Popen[str], take: Callable[[], Numbers], study: Path
) -> list[tuple[float, Numbers]]:
    """Sample until the process ends; (hours since its first trial began, what was seen)."""
    samples: list[tuple[float, Numbers]] = []
    began: float | None = None
    while process.poll() is None:
        if began is None and ends(study):
            began = time.monotonic()
        if began is not None:
            samples.append(((time.monotonic() - began) / 3600, take()))
        time.sleep(SAMPLE)
    return samples


def ends(study: Path) -> int:
    """Trials that have ended, by the journal."""
    return sum(path.read_bytes().count(b'"kind":"end"') for path in study.glob("journal/*.jsonl"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="after the first report")
    parser.add_argument("--json", type=Path, help="file for the samples")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="nt") as name:
        folder = Path(name)
        rays, temporary = folder / "r", folder / "t"
        for place in (rays, temporary):
            place.mkdir()
        own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        own |= {"RAY_TMPDIR": str(rays), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        own |= {"NOISETUNE_HOME": str(folder / "home")}
        log = folder / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command(args.minutes, folder), env=own, stdout=out, stderr=out, text=True
            )
            study = folder / "soak"
            try:
                samples = watch(
                    process, lambda: sample(process.pid, (rays, temporary), study), study
                )
            except BaseException:
                process.send_signal(signal.SIGINT)
                process.wait(60)
                raise
        if process.returncode or sum(numbers["actors"] > 0 for _, numbers in samples) < 5:
            print(log.read_text()[-3000:])
            return 1
        trials = ends(study)
        time.sleep(SAMPLE)
        left = [path.name for place in (rays, temporary) for path in place.iterdir()]
    if args.json:
        args.json.write_text(json.dumps(samples))
    hours = samples[-1][0]
    print(f"{trials} trials ended in {60 * hours:.1f} minutes, {len(samples)} samples; load at the")
    print(f"end {os.getloadavg()[0]:.1f}. From {WARM:.0%} of the time on:\n")
    print("| | first | last | most | slope per hour | +- |\n|---|---|---|---|---|---|")
    searching = [(at, numbers) for at, numbers in samples if numbers["actors"]]
    warm = [(at, numbers) for at, numbers in searching if at >= WARM * hours]
    for key in warm[0][1]:
        points = [(at, numbers[key]) for at, numbers in warm if key in numbers]
        if len(points) < 3:
            continue
        xs, ys = zip(*points, strict=True)
        rise, error = slope(xs, ys)
        print(f"| {key} | {ys[0]:.0f} | {ys[-1]:.0f} | {max(ys):.0f} | {rise:.1f} | {error:.1f} |")
    print(f"\nleft in the temporary places after the end: {sorted(left) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
