"""How fast the platform decides: thousands of simulated trials, with the real journal.

    python -m benchmarks.simulated                       10,000 with random, 1,000 with TPE; ASHA
    python -m benchmarks.simulated --searcher random --trials 100000
    python -m benchmarks.simulated --study results/NAME  what other settings would have made of it

Nothing trains and no Ray runs: what is timed is the searcher, the scheduler, the study and the
journal, all as a search uses them; the journal goes to a real disk. With `--study` the curves are
those that the study recorded, and its hyperparameters are searched again.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from tuning import journal
from tuning.curves import Curves, Generated, Recorded
from tuning.holes import walk
from tuning.making import make_study
from tuning.manifest import read
from tuning.schedulers import SCHEDULERS
from tuning.searchers import SEARCHERS
from tuning.simulator import Simulator
from tuning.space import Plan, load
from tuning.store import Store
from tuning.tables import column_types

DEFAULT = {"random": 10_000, "tpe": 1_000}
EPOCHS = 30


class Stopwatch:
    """Adds up the seconds and the calls of a function."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds, self.calls = call, 0.0, 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.call(*args, **more)
        finally:
            self.seconds += time.perf_counter() - began
            self.calls += 1

    @property
    def ms(self) -> float:
        """A call."""
        return 1e3 * self.seconds / max(1, self.calls)


def timed(plan: Plan, made: Curves, width: int, folder: Path) -> dict[str, float]:
    """Simulate a study with its journal in `folder`, then read that back."""
    make_study(plan, lambda entry, flush: None)  # imports the scheduler
    before = resident()
    book = journal.Journal(folder)
    append = Stopwatch(book.append)
    # a flush of each entry would time the disk; one a second is what reports get
    study = make_study(plan, lambda entry, flush: append(entry))
    study.next, study.report = Stopwatch(study.next), Stopwatch(study.report)  # type: ignore[method-assign]
    simulator = Simulator(study, made, width)
    began = time.perf_counter()
    simulator.live()
    seconds = time.perf_counter() - began
    book.close()
    grown = resident() - before
    began = time.perf_counter()
    again = make_study(plan, lambda entry, flush: None)
    again.replay(journal.read(folder))
    replayed = time.perf_counter() - began
    assert [r.name for r in again.ranking()] == [r.name for r in study.ranking()]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    trials = len(study.records)
    store = Store(folder.parent)
    types = column_types([hole for chain in plan.chains for hole in walk(chain.holes)])
    ranking, table = Stopwatch(study.ranking), Stopwatch(store.write_trials)
    ranking()
    table(study.records.values(), types)
    best = study.ranking()[0].score if study.ranking() else None
    return {
        "trials": trials,
        "reports": study.report.calls,
        "s": seconds,
        "ms/suggestion": study.next.ms,
        "ms/report": study.report.ms,
        "ms/entry": append.ms,
        "replay s": replayed,
        "ms/ranking": ranking.ms,
        "ms/table": table.ms,
        "bytes/trial": size / trials,
        "MiB": grown,
        "simulated s": simulator.clock,
        "best": best if best is not None else float("nan"),
    }


def resident() -> float:
    """MiB of this process, at its peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up(searcher: str, scheduler: str, trials: int) -> tuple[Plan, Curves]:
    """A study of MR on 30 epochs, and curves for it."""
    plan = load(
        "mr",
        task="digits",
        spaces=[],
        settings=[f"epochs={EPOCHS}"],
        seed=0,
        study_flags={"searcher": searcher, "scheduler": scheduler, "trials": trials},
    )
    holes = [hole for chain in plan.chains for hole in walk(chain.holes)]
    return plan, Generated(holes, EPOCHS, failing=0.01, diverging=0.02, keeps=False)


def recorded(folder: Path, searcher: str, scheduler: str, trials: int) -> tuple[Plan, Curves]:
    """A study as it was, but for searcher, scheduler and number of trials."""
    plan = Plan.from_plain(read(Store.open(folder))["plan"])
    settings = plan.study | {"searcher": searcher, "scheduler": scheduler, "trials": trials}
    holes = {chain.chain: chain.holes for chain in plan.chains}
    return replace(plan, study=settings), Recorded(journal.read(folder / "journal"), holes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--searcher", choices=list(SEARCHERS), help="one alone")
    parser.add_argument("--scheduler", choices=list(SCHEDULERS), default="asha")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--width", type=int, default=4, help="trials at a time")
    parser.add_argument("--study", type=Path, help="folder whose recorded curves are replayed")
    args = parser.parse_args()
    print(machine())
    rows = []
    for searcher in [args.searcher] if args.searcher else DEFAULT:
        trials = args.trials or DEFAULT.get(searcher, 100)
        if args.study:
            plan, made = recorded(args.study, searcher, args.scheduler, trials)
        else:
            plan, made = made_up(searcher, args.scheduler, trials)
        with tempfile.TemporaryDirectory(prefix="nt") as name:
            row = timed(plan, made, args.width, Path(name) / "journal")
        rows.append({"searcher": searcher, "scheduler": args.scheduler, **row})
    print("|", " | ".join(rows[0]), "|\n|" + "---|" * len(rows[0]))
    for row in rows:
        cells = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values()]
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
