"""Kill real searches at random moments and go on with them; count what came out wrong.

    python -m benchmarks.tornado --kills 20

Studies of digits with ASHA, two trials at a time, lose their driver and the actors of their trials
to `kill -9`, as many of each as asked for, several in one study. A study that has lost its driver
is resumed at once. Each one must finish with every trial ended once; a report that came twice must
be the same twice; and its journal, played in the recorded order to a new study, must give every
suggestion and decision again. Linux only.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.machine import machine
from benchmarks.soak import family, title
from tuning import journal
from tuning.making import make_study
from tuning.simulator import differences
from tuning.space import Plan

TRIALS, STRIDE = 12, 30  # entries of the journal between two kills, at most
COMMAND: tuple[str, ...] = ("--method", "mr,mr+reset", "--trials", str(TRIALS))
COMMAND += ("--concurrency", "2", "--scheduler", "asha")
COMMAND += ("--set", "epochs=9", "--set", "optim.batch=64")
MEASURED = ("seconds", "seconds/epoch", "checkpoint", "fell_back")  # what depends on the time
LIMIT = 600.0  # seconds of one life


@dataclass
class Outcome:
    """Of one study.

    Attributes:
        kills: by what was killed, `driver` or `actor`.
        lives: drivers.
        redone: reports that came again.
        wrong: what must not be, one line each.
    """

    kills: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    redone: int = 0
    wrong: list[str] = field(default_factory=list)


def start(
    folder: Path, env: Mapping[str, str], command: Sequence[str] = COMMAND
) -> "subprocess.Popen[bytes]":
    """A life of a study: its first one, or one more; what it says is added to `folder`.log."""
    words = [*command, "--storage", str(folder.parent), "--name", folder.name]
    if (folder / "manifest.json").exists():
        words = ["--resume", str(folder), "--concurrency", "2"]
    words = [sys.executable, "-m", "tuning.search", *words, "--max-failures", "100"]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)


def battered(
    folder: Path, env: Mapping[str, str], draws: random.Random, left: Counter[str], stride: int
) -> Outcome:
    """Run a study to its end, with kills as long as there are any left.

    Args:
        folder: its own, not there yet.
        left: kills to be done, by what is killed; not changed.
        stride: entries of the journal between two kills, at most.
    """
    outcome = Outcome()
    code: int | None = None
    while code is None:
        driver = start(folder, env)
        outcome.lives += 1
        try:
            while wanted := sorted((left - outcome.kills).elements()):
                if not waited(driver, folder, draws, stride):
                    break
                kind = draws.choice(wanted)
                if kind == "driver":
                    driver.kill()
                    outcome.kills[kind] += 1
                    break
                outcome.kills[kind] += shot(driver, draws)
            code = driver.wait(timeout=LIMIT)
        finally:
            driver.kill()
        if code == -signal.SIGKILL:
            code = None
    outcome.wrong += [f"exit code {code}"] * (code != 0)
    entries = list(journal.read(folder / "journal"))
    outcome.redone = len(repeated(entries))
    outcome.wrong += wrong(folder, entries)
    return outcome


def waited(
    driver: "subprocess.Popen[bytes]", folder: Path, draws: random.Random, stride: int
) -> bool:
    """Wait for the moment of a kill; whether the driver still runs then."""
    more = draws.randrange(stride)
    target, end = written(folder) + more, time.monotonic() + LIMIT
    while written(folder) < target and driver.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(draws.uniform(0.0, 0.5 if more else 8.0))  # 8: also while Ray starts
    return driver.poll() is None


def written(folder: Path) -> int:
    """Entries in the journal."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "journal").glob("*"))


def actors(parent: int) -> list[int]:
    """The processes of a driver's trials; Ray's own are none."""
    return [pid for pid in family(parent) if "Trainable" in title(pid)]


def shot(driver: "subprocess.Popen[bytes]", draws: random.Random) -> int:
    """Kill one of a driver's trial actors; how many were."""
    with suppress(ProcessLookupError, IndexError):  # it has just ended, or none stands
        os.kill(draws.choice(actors(driver.pid)), signal.SIGKILL)
        return 1
    return 0


def repeated(entries: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """Reports that came again, each with what it was the time before."""
    seen: dict[tuple[str, int], Any] = {}
    found = []
    for entry in entries:
        if entry["kind"] == "report":
            key = entry["trial"], entry["report"]
            told = {name: value for name, value in entry.items() if name not in MEASURED}
            found += [(seen[key], told)] if key in seen else []
            seen[key] = told
    return found


def wrong(folder: Path, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must not be in a study that has finished, one line each."""
    kinds = {kind: [e for e in entries if e["kind"] == kind] for kind in ("suggest", "end")}
    suggested = Counter(entry["trial"] for entry in kinds["suggest"])
    ended = Counter(entry["trial"] for entry in kinds["end"])
    manifest = json.loads((folder / "manifest.json").read_text())
    plan = Plan.from_plain(manifest["plan"])
    study = make_study(plan, lambda entry, flush: None)
    found = [f"{name}: suggested {n} times" for name, n in suggested.items() if n > 1]
    found += [f"{name}: ended {ended[name]} times" for name in suggested if ended[name] != 1]
    found += [f"{e['trial']}: {e['error']}" for e in kinds["end"] if e["status"] == "failed"]
    if len(suggested) != study.trials:
        found.append(f"{len(suggested)} trials of {study.trials}")
    for before, after in repeated(entries):
        names = sorted(key for key in before | after if before.get(key) != after.get(key))
        found += [f"{after['trial']} report {after['report']}: differs in {names}"] * bool(names)
    if manifest["lives"][-1].get("how") != "finished":
        found.append(f"it is not finished: {manifest['lives'][-1]}")
    keys = {(entry["trial"], entry["report"]) for entry in entries if entry["kind"] == "report"}
    table = pq.read_table(folder / "history.parquet", columns=["trial", "report"]).to_pylist()
    if sorted(keys) != sorted((row["trial"], row["report"]) for row in table):
        found.append("history.parquet has other reports than the journal")
    return found + differences(study, [dict(entry) for entry in entries])


def environment(folder: Path) -> dict[str, str]:
    """Of a child process that starts a Ray of its own below a folder with a short path."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | {"RAY_TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of drivers, and of actors (20)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draws = random.Random(args.seed)
    left = Counter({"driver": args.kills, "actor": args.kills})
    total, bad, redone, began = 0, 0, 0, time.monotonic()
    print(machine())
    while left.total():
        with tempfile.TemporaryDirectory(prefix="nt", dir="/tmp") as name:
            folder = Path(name)
            outcome = battered(folder / "study", environment(folder), draws, left, STRIDE)
        left -= outcome.kills
        total, bad = total + 1, bad + len(outcome.wrong)
        redone += outcome.redone
        kills = ", ".join(f"{outcome.kills[kind]} x {kind}" for kind in ("driver", "actor"))
        print(
            f"study {total}: {kills} killed, {outcome.lives} lives, {outcome.redone} reports "
            f"came again, {len(outcome.wrong)} wrong",
            *outcome.wrong,
            sep="\n  ",
            flush=True,
        )
    print(
        f"{args.kills} drivers and {args.kills} actors killed in {total} studies, {redone} reports "
        f"came again, {bad} wrong, {time.monotonic() - began:.0f} s"
    )
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
