"""What the platform costs beside training: a study of trials that do nothing.

    python -m benchmarks.overhead                 500 trials, ours and stock Ray Tune, in turns
    python -m benchmarks.overhead --trials 100    fewer

Ours is a whole life of a study as `tuning.search` runs it: TPE, ASHA, journal, tables,
TensorBoard, progress lines. Stock is `tune.Tuner` with Ray's own OptunaSearch (TPE) and ASHA and
its default loggers. Both search the same holes, run the same Trainable, which reports three epochs
at once, two at a time on reused actors, each in a process and a local Ray of its own. Time counts
from the first report, so that the start of Ray and of the first actor is in neither. The driver's
memory is its peak; both hold torch, which Tune's own TensorBoard logger imports, too.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from ray import tune

from benchmarks.machine import machine, spread

EPOCHS, CONCURRENCY, BLOCK = 3, 2, 100


def said(count: int, config: dict[str, Any]) -> dict[str, Any]:
    """Report number `count` of a trial, with all that a real one holds."""
    lr = config["optim"]["lr"] if "optim" in config else config["lr"]
    score = 1 / (1 + abs(math.log10(lr) + 1.5)) - 0.1 / count
    report = {"report": count, "epoch": float(count), "step": count}
    report |= {"scored": 1, "score": score, "last": score, "kept": 0, "diverged": 0, "lr": lr}
    report |= {"val/acc": score, "val/loss": 1.0, "train/acc": 0.5, "train/loss": 1.0}
    report |= {"seconds": 0.0, "seconds/epoch": 0.0}
    return {**report, "done": count == EPOCHS}


class Nothing(tune.Trainable):  # type: ignore[misc]  # Ray's bases carry no types
    """Reports a score made of its learning rate, at once; its checkpoints are empty."""

    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.count = 0
        return True

    def step(self) -> dict[str, Any]:
        self.count += 1
        return said(self.count, self.config)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


class Clock:
    """When the first report came and when each trial ended, in seconds; how many reports came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.reports = 0

    def report(self, report: dict[str, Any]) -> None:
        self.reports += 1
        if not self.times:
            self.times.append(time.perf_counter())

    def end(self) -> None:
        self.times.append(time.perf_counter())


def ours(trials: int, folder: Path, clock: Clock, searcher: str = "tpe") -> None:
    """One life of a study of ours, on a Ray of its own."""
    from tuning.session import cluster

    with cluster(None):
        search(trials, folder, clock, searcher, Nothing, CONCURRENCY)


def search(
    trials: int,
    folder: Path,
    clock: Clock,
    searcher: str,
    trainable: type[Any],
    concurrency: int,
    scheduler: str = "asha",
) -> None:
    """One life of a study of ours, on the Ray that runs."""
    from rich.console import Console

    from tuning import journal
    from tuning.holes import walk
    from tuning.interrupts import interruptible
    from tuning.making import make_study
    from tuning.progress import Promise as Promise
    from tuning.resources import Resources
    from tuning.run import Life
    from tuning.space import load
    from tuning.store import Store

    settings = [f"epochs={EPOCHS}"]
    flags = {"trials": trials, "searcher": searcher, "scheduler": scheduler}
    plan = load("mr", task="digits", spaces=[], settings=settings, seed=0, study_flags=flags)
    store = Store(folder)
    store.create()
    book = journal.Journal(folder / "journal")

    def write(entry: dict[str, Any], flush: bool) -> None:
        book.append(entry, flush=flush)
        if entry["kind"] == "report":
            clock.report(entry)
        elif entry["kind"] == "end":
            clock.end()

    study = make_study(plan, write)
    holes = [hole for chain in plan.chains for hole in walk(chain.holes)]
    promise = Promise(folder.name, "val/acc", {"mr": trials}, EPOCHS)
    with interruptible() as interrupt:
        life = Life(
            study=study,
            store=store,
            holes=holes,
            task=plan.name,
            keep=plan.study["keep"],
            promise=promise,
            console=Console(file=StringIO()),
            interrupt=interrupt,
            trainable=trainable,
        )
        life.run(Resources(1.0, 0.0, concurrency))
    book.close()
    assert study.count("done", "stopped") == trials


def stock(trials: int, folder: Path, clock: Clock, searcher: str = "tpe") -> None:
    """The same search by Tune's own parts."""
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from tuning.session import cluster

    class Ends(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, *args: Any, **info: Any) -> None:
            clock.report(info["result"])

        def on_trial_complete(self, *args: Any, **info: Any) -> None:
            clock.end()

        def __getstate__(self) -> dict[str, Any]:
            return {}

    space = {"lr": tune.loguniform(0.005, 0.5), "eta": tune.loguniform(1e-4, 1.0)}
    space["period"] = tune.choice([0.5, 1, 2])
    with cluster(None):
        grid = tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=OptunaSearch(seed=0) if searcher == "tpe" else None,
                scheduler=ASHAScheduler("epoch", max_t=EPOCHS, grace_period=1, reduction_factor=3),
                num_samples=trials,
                max_concurrent_trials=CONCURRENCY,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=folder.name, storage_path=str(folder.parent), callbacks=[Ends()], verbose=0
            ),
        ).fit()
        assert len(grid) == trials


SIDES = {"ours": ours, "stock": stock}


def one(side: str, trials: int, folder: Path) -> dict[str, Any]:
    """Run one side in this process; gives seconds a trial, per hundred too, and peak MB."""
    clock = Clock()
    SIDES[side](trials, folder, clock)
    times = clock.times
    assert len(times) == trials + 1
    marks = [*range(0, trials, BLOCK), trials]
    blocks = [(times[end] - times[begin]) / (end - begin) for begin, end in pairwise(marks)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on a Mac
    return {
        "seconds": (times[-1] - times[0]) / trials,
        "blocks": blocks,
        "reports": clock.reports,
        "mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }


def apart(module: str, *given: str, quiet: bool) -> dict[str, Any]:
    """Run a benchmark's part in a process of its own, with its own Ray, token and folders.

    Args:
        module: is run with `given` and a `--folder`; its last line is JSON.
        quiet: whether Ray's environment is the one that `quieten` sets.
    """
    with tempfile.TemporaryDirectory(prefix="nt") as name:
        folder = Path(name)
        token = folder / "token"
        token.write_text(os.urandom(16).hex())
        token.chmod(0o600)
        environment = {
            **os.environ,
            "NOISETUNE_HOME": name,
            "RAY_TMPDIR": name,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
        }
        if quiet:
            from tuning.session import QUIET

            environment |= QUIET  # what `quieten` sets; this script has imported Ray before
        command = [sys.executable, "-m", module, *given, "--folder", str(folder / "study")]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=500, help="of each study")
    parser.add_argument("--turns", type=int, default=3, help="studies of each side")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one(args.side, args.trials, args.folder)))
        return
    print(machine())
    print(f"{args.trials} trials, n = {args.turns} studies a side; median (min - max)\n")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(args.turns):
        for side in SIDES:
            given = ["--trials", str(args.trials), "--side", side]
            found[side].append(apart("benchmarks.overhead", *given, quiet=side == "ours"))
    blocks = range(len(found["ours"][0]["blocks"]))
    print(
        "|",
        "s/trial",
        *(f"trials {BLOCK * i + 1}+" for i in blocks),
        "reports | driver MB |",
        sep=" | ",
    )
    print("|" + "---|" * (len(blocks) + 4))
    for side, runs in found.items():
        cells = [spread([run["seconds"] for run in runs], ".3f")]
        cells += [spread([run["blocks"][i] for run in runs], ".3f") for i in blocks]
        cells += [spread([run["reports"] for run in runs], ".0f")]
        print("|", " | ".join([side, *cells, spread([run["mb"] for run in runs], ".0f")]), "|")
    growth = [run["blocks"][-1] / run["blocks"][0] for run in found["ours"]]
    pairs = zip(found["ours"], found["stock"], strict=True)
    print(f"\nlast hundred / first hundred, ours: {spread(growth, '.2f')} (wanted: at most 2)")
    memory = [mine["mb"] / theirs["mb"] for mine, theirs in pairs]
    print(f"driver's memory, ours / stock: {spread(memory, '.2f')} (wanted: at most 1.5)")
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
