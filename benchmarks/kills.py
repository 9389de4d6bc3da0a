"""Kill simulated studies at random moments; count what differs from the one left alone.

    python -m benchmarks.kills --kills 1000

Every searcher with every scheduler, one to eight trials at a time, with trials that fail, that
diverge and that keep their state within an epoch. Each study is run once undisturbed, then again
in many lives: each life is cut after a random number of journal entries, or within the bytes of a
line, and the next one is rebuilt from the files. Compared are the table of trials with every
report and decision, the rungs, the ranking, and every suggestion with what was known to it.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from tuning import journal
from tuning.curves import Curves, Generated
from tuning.holes import walk
from tuning.making import make_study
from tuning.schedulers import SCHEDULERS
from tuning.searchers import SEARCHERS
from tuning.simulator import Simulator, differences
from tuning.space import Plan, load
from tuning.study import Entry, Study

WIDTHS = (1, 2, 4, 8)
EPOCHS = 9
METHODS = {"cmaes": "gce", "gp": "mr"}  # cmaes needs numeric holes; gp thinks long, so one chain
TRIALS = {"gp": 14}  # of which it models 4; 30 elsewhere


class KilledError(Exception):
    """Where a life ends."""


@dataclass(frozen=True)
class Case:
    """A study to be killed."""

    searcher: str
    scheduler: str
    width: int
    allocate: str = "equal"

    @property
    def plan(self) -> Plan:
        flags: dict[str, Any] = {"scheduler": self.scheduler, "allocate": self.allocate}
        flags["trials"] = TRIALS.get(self.searcher, 30)
        if self.scheduler != "pbt":
            flags["searcher"] = self.searcher
        return load(
            METHODS.get(self.searcher, "mr,ce"),
            task="digits",
            spaces=[],
            settings=[f"epochs={EPOCHS}"],
            seed=3,
            study_flags=flags,
        )


def cases(searchers: Iterable[str], widths: Iterable[int]) -> list[Case]:
    """Every searcher with every scheduler; those with one sampler for all chains once more."""
    found = [
        Case(searcher, scheduler, width)
        for searcher, scheduler, width in product(searchers, SCHEDULERS, widths)
        if scheduler != "pbt" or searcher == "random"  # it does its own searching
    ]
    adaptive = [case for case in found if case.searcher in ("tpe", "random")]
    adaptive = [case for case in adaptive if case.scheduler == "asha"]
    return found + [Case(c.searcher, c.scheduler, c.width, "adaptive") for c in adaptive]


def curves(plan: Plan) -> Generated:
    """Learning curves for the plan's holes; one trial in ten fails, one in ten diverges."""
    holes = [hole for chain in plan.chains for hole in walk(chain.holes)]
    return Generated(holes, EPOCHS, seed=5, failing=0.1, diverging=0.1)


def told(study: Study) -> dict[str, Any]:
    """All that must not depend on how many lives a study had."""
    rules = [lane.rule for lane in study.lanes.values()]
    return {
        "records": [vars(r) | {"score": r.score, "last": r.last} for r in study.records.values()],
        "rungs": [rule.rungs() for rule in rules if hasattr(rule, "rungs")],
        "ranking": [record.name for record in study.ranking()],
    }


def suggestions(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.get("kind") in ("suggest", "turn")]


def alone(plan: Plan, made: Curves, width: int) -> tuple[Study, list[Entry]]:
    """The study that nobody kills, and its journal."""
    entries: list[Entry] = []
    study = make_study(plan, lambda entry, flush: entries.append(entry))
    Simulator(study, made, width).live()
    return study, entries


def life(
    plan: Plan,
    made: Curves,
    width: int,
    folder: Path,
    *,
    most: float = float("inf"),
    lost: frozenset[str] = frozenset(),
) -> tuple[Study | None, int]:
    """Rebuild the study from its folder and go on, for at most `most` entries.

    Args:
        lost: trials whose last checkpoint is gone.

    Returns:
        the finished study, None if it was killed, and how many reports came again.
    """
    entries = list(journal.read(folder)) if folder.exists() else []
    book = journal.Journal(folder)
    written = 0

    def write(entry: Entry, flush: bool) -> None:
        nonlocal written
        book.append(entry)  # what a kill leaves is cut by `torn`, so nothing waits for the disk
        written += 1
        if written >= most:
            raise KilledError

    study = make_study(plan, write)
    simulator = Simulator(study, made, width)
    try:
        simulator.live(entries, lambda record: record.name not in lost)
    except KilledError:
        return None, simulator.redone
    finally:
        book.close()
    return study, simulator.redone


def torn(folder: Path, draws: random.Random) -> None:
    """Take a random part of its last line from the newest segment, as a kill may."""
    segment = max(folder.iterdir())
    whole = segment.read_bytes()
    begin = whole[:-1].rfind(b"\n") + 1
    if begin > 0:  # not the line of the version
        segment.write_bytes(whole[: draws.randrange(begin, len(whole) + 1)])


@dataclass
class Outcome:
    """Of one case: kills that were done, reports made again, and what differs, one line each."""

    kills: int
    redone: int
    differs: list[str]


def killed(case: Case, kills: int, seed: int) -> Outcome:
    """Run a case alone, then in lives of random length until it has been killed `kills` times."""
    draws = random.Random(f"{case} {seed}")
    plan = case.plan
    made = curves(plan)
    left, entries = alone(plan, made, case.width)
    wanted, order = told(left), suggestions(entries)
    play = make_study(plan, lambda entry, flush: None)
    outcome = Outcome(0, 0, [f"replayed: {line}" for line in differences(play, entries)])
    with tempfile.TemporaryDirectory(prefix="nt") as name:
        while outcome.kills < kills:
            folder = Path(name) / "journal"
            study = None
            while study is None:
                more = outcome.kills < kills
                # about eight lives a study, some of them a single entry long
                length = int(draws.random() ** 2 * len(entries) / 2) + 1
                lost = frozenset(n for n in left.records if draws.random() < 0.3)
                most = length if more else float("inf")
                study, redone = life(plan, made, case.width, folder, most=most, lost=lost)
                outcome.redone += redone
                if study is None:
                    torn(folder, draws)
                    outcome.kills += 1
            found = told(study)
            differs = [part for part in wanted if found[part] != wanted[part]]
            if suggestions(journal.read(folder)) != order:
                differs.append("suggestions")
            outcome.differs += [f"after {outcome.kills} kills: {part}" for part in differs]
            shutil.rmtree(folder)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000, help="in all, shared by the cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--searchers", default=",".join(SEARCHERS))
    args = parser.parse_args()
    print(machine())
    found = cases(args.searchers.split(","), WIDTHS)
    began, kills, redone, differs = time.perf_counter(), 0, 0, 0
    for number, case in enumerate(found):
        share = args.kills * (number + 1) // len(found) - args.kills * number // len(found)
        outcome = killed(case, max(1, share), args.seed)
        kills, redone = kills + outcome.kills, redone + outcome.redone
        differs += len(outcome.differs)
        for line in outcome.differs:
            print(f"{case}: {line}")
    seconds = time.perf_counter() - began
    names = ", ".join(sorted({case.searcher for case in found}))
    rules = ", ".join(sorted({case.scheduler for case in found}))
    print(f"searchers {names}; schedulers {rules}; at a time {', '.join(map(str, WIDTHS))}")
    print(f"{len(found)} cases, {kills} kills, {redone} reports made again: {differs} differences")
    print(f"{seconds:.0f} s")
    return int(differs > 0)


if __name__ == "__main__":
    sys.exit(main())
