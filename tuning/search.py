"""`python -m tuning.search`: search the hyperparameters of label-noise methods.

Reads and checks everything first; then one life of a study runs (`tuning.run`). All that a study
is lies in its folder; `--resume` needs nothing else.
"""

import json
import platform
import subprocess
import sys
import time
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from trainables.config import Config
from trainables.data.dataset import Dataset, prepare
from trainables.errors import ConfigError
from trainables.select import MODES
from tuning import commandline, journal, yamls
from tuning.forecast import forecast
from tuning.holes import walk
from tuning.progress import Plan as Promise
from tuning.progress import summary
from tuning.run import Life, Resources, interruptible
from tuning.schedulers import SCHEDULERS
from tuning.searchers import SEARCHERS
from tuning.session import cluster, cores, quieten
from tuning.space import Plan, load
from tuning.store import Store, storage_folder
from tuning.study import Lane, Study

DONE, NOTHING, WRONG, INTERRUPTED = 0, 1, 2, 130
PACKAGES = ("ray", "optuna", "torch", "torchvision", "numpy", "pyarrow", "pydantic", "tensorboard")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    try:
        return search(commandline.parse(argv))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG


def search(args: Namespace) -> int:
    """Plan a study or take up an interrupted one, and run it."""
    quieten()  # before anything imports Ray, which reads the environment then
    console = Console()
    if args.resume:
        store = Store.open(Path(args.resume).expanduser().absolute())
        manifest = store.read_json("manifest.json")
        plan = Plan.from_plain(manifest["plan"])
    else:
        given = {name: getattr(args, name) for name in commandline.STUDY_FLAGS}
        plan = load(
            args.method,
            task=args.task or "digits",
            spaces=[Path(path) for path in args.space],
            settings=args.set,
            seed=args.seed,
            study_flags={
                name: yamls.parse(text, f"--{name} {text}")
                for name, text in given.items()
                if text is not None
            },
        )
        store = Store(storage_folder(args.storage or "results") / study_name(args.name, plan))
        manifest = {}
    local = None if args.address else local_resources(args)
    data = prepare(first_config(plan).task)
    if args.dry_run:
        shown = local or Resources(args.cpus or 1.0, args.gpus or 0.0, args.concurrency or 1)
        console.print(forecast(plan, data, shown, store.folder), soft_wrap=True, highlight=False)
        return DONE
    if not args.resume:
        store.create()
        manifest = describe(plan, data, args)
        store.write_json("manifest.json", manifest)
        write_labels(store, data)
    elif manifest["noise"]["hash"] != data.noise.hash or manifest["data"] != data.address:
        raise ConfigError(
            f"{store.folder}: its data or labels are not those of this machine (clear the data "
            "cache, or resume where it began)"
        )
    with store.claimed():
        return live(args, console, store, plan, local)


def live(
    args: Namespace,
    console: Console,
    store: Store,
    plan: Plan,
    local: Resources | None,
) -> int:
    """One life of a study, and what is said of it at the end."""
    entries = list(journal.read(store.folder / "journal")) if args.resume else []
    book = journal.Journal(store.folder / "journal")
    study = make_study(plan, lambda entry, flush: book.append(entry, flush=flush))
    holes = {hole.column: hole for chain in plan.chains for hole in walk(chain.holes)}
    promise = Promise(
        name=store.folder.name,
        folder=store.folder,
        metric=plan.study["metric"],
        trials=dict.fromkeys(study.lanes, study.trials // len(study.lanes)),
        epochs=study.epochs,
        time_limit=args.time,
    )
    manifest = store.read_json("manifest.json")
    lives = manifest["lives"]
    lives.append({"began": stamp(), "command": command(args)})
    store.write_json("manifest.json", manifest)
    with interruptible() as interrupt:
        study.replay(entries)
        book.append({"kind": "life", "life": len(lives), "time": time.time()}, flush=True)
        life = Life(
            study=study,
            store=store,
            holes=holes,
            task=plan.name,
            keep=plan.study["keep"],
            promise=promise,
            console=console,
            interrupt=interrupt,
        )
        for note in plan.notes:
            console.print(f"note: {note}", soft_wrap=True, highlight=False)
        if study.count("done", "stopped", "failed") < study.trials and not interrupt.raised:
            console.print("starting Ray; the first trial reports in 10 to 20 s", style="dim")
            with cluster(args.address) as found:
                life.run(local or cluster_resources(args, found))
        else:
            life.finish()
    book.close()
    how = "interrupted" if interrupt.raised else "out of time" if life.out_of_time else "finished"
    lives[-1] |= {"ended": stamp(), "how": how, "seconds": round(life.seconds, 3)}
    store.write_json("manifest.json", manifest)
    resume = f"python -m tuning.search --resume {shown_path(store.folder)}"
    board = f"tensorboard --logdir {shown_path(store.folder.parent)}"
    going = interrupt.raised or life.out_of_time
    console.print(summary(life.view(), promise, resume if going else board))
    if args.json:
        print(json.dumps(verdict(study, store, how)))
    if interrupt.raised:
        return INTERRUPTED
    return DONE if study.count("done", "stopped") else NOTHING


def make_study(plan: Plan, write: Any) -> Study:
    """The searchers and schedulers of a plan, one pair per chain."""
    settings = plan.study
    mode = MODES[settings["metric"]]
    epochs = first_config(plan).task.epochs
    lanes = [
        Lane(
            chain=chain.chain,
            searcher=SEARCHERS[settings["searcher"]](
                chain.holes, chain=chain.chain, seed=plan.seed, mode=mode, starts=chain.starts
            ),
            rule=SCHEDULERS[settings["scheduler"]](
                epochs, mode=mode, grace=settings["grace"], factor=settings["factor"]
            ),
            starts=len(chain.starts),
            config=chain.config,
        )
        for chain in plan.chains
    ]
    rounds = -(-settings["trials"] // len(lanes))
    return Study(
        lanes,
        trials=rounds * len(lanes),
        epochs=epochs,
        mode=mode,
        select=settings["select"],
        write=write,
    )


def first_config(plan: Plan) -> Config:
    """A config of the plan, for what all its trials share."""
    chain = plan.chains[0]
    return Config.parse(chain.config(chain.sample))


def study_name(given: str | None, plan: Plan) -> str:
    """The study's name: a person's own, or made of methods, task and time."""
    if given is None:
        chains = "_".join(chain.chain for chain in plan.chains)
        return f"{chains}-{plan.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if given in (".", "..") or not given.strip() or any(mark in given for mark in "/\\\0"):
        raise ConfigError(f"--name {given}: must be the name of one folder, without a slash")
    return given


def local_resources(args: Namespace) -> Resources:
    """What trials get on this machine.

    Raises:
        ConfigError: more than there is.
    """
    here = cores()
    devices = torch.cuda.device_count()
    return fitting(args, here, devices, "this machine")


def cluster_resources(args: Namespace, found: dict[str, float]) -> Resources:
    """What trials get on a running cluster."""
    return fitting(args, found.get("CPU", 0), found.get("GPU", 0), f"the cluster at {args.address}")


def fitting(args: Namespace, cpus: float, gpus: float, where: str) -> Resources:
    """The asked for or usual resources of a trial, and as many trials as fit."""
    cpu = 1.0 if args.cpus is None else args.cpus
    gpu = min(1.0, gpus) if args.gpus is None else args.gpus
    for flag, asked, there in (("--cpus", cpu, cpus), ("--gpus", gpu, gpus)):
        if asked > there:
            raise ConfigError(f"{flag} {asked:g}: {where} has {there:g} (ask for less)")
    most = int(cpus / cpu) if not gpu else min(int(cpus / cpu), int(gpus / gpu))
    return Resources(cpu, gpu, min(args.concurrency or most, most))


def describe(plan: Plan, data: Dataset, args: Namespace) -> dict[str, Any]:
    """The manifest: what this study is, from which it can be resumed and repeated."""
    noise = first_config(plan).task.noise
    return {
        "format": 1,
        "began": stamp(),
        "command": command(args),
        "plan": plan.plain,
        "data": data.address,
        "noise": {
            "kind": noise.kind,
            "rate": noise.rate,
            "seed": noise.seed,
            "realised": data.noise.rate,
            "hash": data.noise.hash,
            "transitions": data.noise.transitions.tolist(),
        },
        "split": {"train": len(data.train), "validation": len(data.validation)},
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "git": commit(),
        "lives": [],
    }


def write_labels(store: Store, data: Dataset) -> None:
    """labels.parquet: what was given, what was true, who trains and who validates."""
    split = np.full(len(data.given), "train", dtype=object)
    split[data.validation] = "validation"
    index = np.arange(len(data.given))
    store.write_labels(index.tolist(), data.clean.tolist(), data.given.tolist(), split.tolist())


def verdict(study: Study, store: Store, how: str) -> dict[str, Any]:
    """What `--json` prints."""
    ranking = study.ranking()
    best = None
    if ranking:
        first = ranking[0]
        best = {
            "trial": first.name,
            "score": first.score,
            "last": first.last,
            "params": first.params,
        }
    counts = {name: study.count(name) for name in ("done", "stopped", "failed")}
    return {"study": str(store.folder), "how": how, "trials": study.trials, **counts, "best": best}


def command(args: Namespace) -> list[str]:
    return [str(part) for part in args.argv]


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def commit() -> str | None:
    """The commit of the code that runs, where it runs from a repository."""
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def shown_path(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
