"""Fill a study's disk at random moments: is it told, is all readable, does it go on with room?

    python -m benchmarks.fulldisk --rounds 5

First a study is left alone; the most that its folder took is compared with what `--dry-run` said.
Then, in each round, the same study lies on a small tmpfs, which is filled to the last byte at a
random moment. The study must end by itself with one line; its journal and tables must be readable;
with room made, `--resume` must finish it, and nothing may differ (`benchmarks.tornado`).
Linux only; mounting needs root.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.machine import machine
from benchmarks.tornado import LIMIT, environment, start, written, wrong
from tuning import journal

COMMAND: tuple[str, ...] = ("--method", "mr+reset", "--trials", "6", "--concurrency", "2")
COMMAND += ("--scheduler", "asha", "--set", "epochs=9", "--set", "optim.batch=64")
MEGABYTES = 32  # of the tmpfs
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def promised(folder: Path, env: Mapping[str, str]) -> float:
    """Megabytes that `--dry-run` says the study takes."""
    words = [sys.executable, "-m", "tuning.search", *COMMAND, "--dry-run"]
    words += ["--storage", str(folder)]
    said = subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^disk +about ([\d.,]+) (\w+)", said, re.MULTILINE)
    assert found is not None, said
    return float(found[1].replace(",", "")) * UNITS[found[2]] / 1e6


def taken(folder: Path) -> float:
    """Megabytes that the files below a folder have on disk."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it has just gone
            total += path.stat().st_blocks * 512
    return total / 1e6


def alone(folder: Path, env: Mapping[str, str]) -> tuple[float, float, int]:
    """Run the study undisturbed: the most megabytes it took, those left, entries written."""
    driver = start(folder, env, COMMAND)
    most = 0.0
    try:
        while driver.poll() is None:
            most = max(most, taken(folder))
            time.sleep(0.2)
    finally:
        driver.kill()
    assert driver.returncode == 0, folder.with_suffix(".log").read_text()
    return most, taken(folder), written(folder)


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A small disk mounted there."""
    folder.mkdir()
    size = f"size={MEGABYTES}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Take all the room there is."""
    with file.open("wb", buffering=0) as taken, suppress(OSError):
        while True:
            taken.write(b"0" * 4096)


def filled(folder: Path, env: Mapping[str, str], entries: int, draws: random.Random) -> list[str]:
    """Fill the disk under a study after some of its journal's entries; what went wrong."""
    log, ballast = folder.parent.with_suffix(".log"), folder.parent / "ballast"
    folder.with_suffix(".log").symlink_to(log)  # not on the disk that is full
    moment = draws.randrange(1, entries)
    driver = start(folder, env, COMMAND)
    try:
        while written(folder) < moment and driver.poll() is None:
            time.sleep(0.01)
        time.sleep(draws.uniform(0.0, 0.5))
        fill(ballast)
        began = time.monotonic()
        driver.wait(timeout=LIMIT)
    finally:
        driver.kill()
    said = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    print(f"  filled after {moment} entries: code {driver.returncode} within", end=" ")
    print(f"{time.monotonic() - began:.1f} s, {'; '.join(said) or 'nothing to tell'}")
    bad = [f"{len(said)} lines about it"] * (driver.returncode == 1 and len(said) != 1)
    bad += [f"exit code {driver.returncode}"] * (driver.returncode not in (0, 1))
    lead, _, traceback = log.read_text().partition("Traceback")
    bad += [f"a traceback:{lead[-300:]}{traceback[:4000]}"] * bool(traceback)
    before = list(journal.read(folder / "journal"))
    for table in folder.rglob("[!.]*.parquet"):
        pq.read_table(table)  # raises if it is not whole
    ballast.unlink()
    again = start(folder, env)
    try:
        code = again.wait(timeout=LIMIT)
    finally:
        again.kill()
    bad += [f"exit code {code} of --resume"] * (code != 0)
    after = list(journal.read(folder / "journal"))
    bad += ["what was written before is not there"] * (after[: len(before)] != before)
    print(f"  {len(before)} entries read, {len(after)} in the end, {len(bad)} wrong", flush=True)
    return bad + wrong(folder, after)


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draws = random.Random(args.seed)
    print(machine())
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nt", dir="/tmp") as name:
        base = Path(name)
        env = environment(base)
        said = promised(base, env)
        most, rest, entries = alone(base / "alone", env)
        print(
            f"--dry-run said {said:.1f} MB; the folder took {most:.1f} MB at most "
            f"({most / said:.2f} of that) and {rest:.1f} MB in the end",
            flush=True,
        )
        for number in range(args.rounds):
            with disk(base / f"disk-{number}"):
                found = filled(base / f"disk-{number}" / "study", env, entries, draws)
            print(f"round {number + 1}: {len(found)} wrong", *found, sep="\n  ", flush=True)
            bad += found
    print(f"{args.rounds} full disks, {len(bad)} wrong")
    return min(len(bad), 1)


if __name__ == "__main__":
    sys.exit(main())
