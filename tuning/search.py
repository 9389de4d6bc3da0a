"""`python -m tuning.search`: search the hyperparameters of label-noise methods.

Reads and checks everything first; then one life of a study runs (`tuning.run`). All that a study
is lies in its folder; `--resume` needs nothing else.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from trainables.cost import least_on_gpu, try_out
from trainables.data.dataset import Dataset, prepare
from trainables.data.sources.roots import roots
from trainables.errors import ConfigError
from tuning import commandline, journal, yamls
from tuning.allocate import Equal, dealer_of
from tuning.board import quiet_threads
from tuning.changes import changed
from tuning.checkpoints import final, strip
from tuning.faults import counted
from tuning.flags import program, shown_path, use_data_root
from tuning.forecast import forecast
from tuning.front import front
from tuning.holes import walk
from tuning.interrupts import INTERRUPTED, interruptible
from tuning.making import earlier, entries_of, make_study
from tuning.manifest import check, describe, images, read, stamp, write_labels
from tuning.notes import notes
from tuning.places import place_of, plain
from tuning.priors import warmed
from tuning.progress import Promise, summary
from tuning.resources import (
    Resources,
    cluster_resources,
    free_memory,
    gpu_memory,
    local_resources,
    refuse_crowding,
)
from tuning.room import heaviest, refuse_rows
from tuning.run import EndedError, Life
from tuning.session import NotStartedError, cluster, quieten, reachable
from tuning.space import Plan, load
from tuning.store import Store
from tuning.study import ENDED, Study

STARTING = "starting Ray; the first trial reports in 10 to 20 s, later on a busy machine"
DONE, NOTHING, WRONG = 0, 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    try:
        return search(commandline.parse(argv))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except (journal.BrokenError, EndedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return NOTHING
    except KeyboardInterrupt:
        print("interrupted; what is in the study's folder can be resumed", file=sys.stderr)
        return INTERRUPTED


def search(args: Namespace) -> int:
    """Plan a study or take up an interrupted one, and run it."""
    quieten()  # before anything imports Ray, which reads the environment then
    if args.address and not args.dry_run:
        reachable(args.address)
    if args.data_root is not None:
        use_data_root(args.data_root)  # the processes of a Ray of ours inherit it
        roots()
    console = Console()
    if args.resume:
        store = Store.open(place_of(args.resume, "--resume"))
        manifest = read(store)
        plan = changed(
            Plan.from_plain(manifest["plan"]),
            trials=args.trials,
            methods=args.method,
            spaces=[Path(path) for path in args.space],
            settings=args.set,
        )
    else:
        given = {name: getattr(args, name) for name in commandline.STUDY_FLAGS}
        plan = load(
            args.method,
            task=args.task or "digits",
            spaces=[Path(path) for path in args.space],
            settings=args.set,
            seed=args.seed,
            study_flags={
                name: yamls.parse(text, f"--{name.replace('_', '-')} {text}")
                for name, text in given.items()
                if text is not None
            },
        )
        store = Store(
            place_of(args.storage or "results", "--storage") / study_name(args.name, plan)
        )
    dealer_of(plan)  # which refuses a searcher that cannot search these chains
    local = None if args.address else local_resources(args)
    data = prepare(plan.example.task)
    if args.warm_start:
        known = [earlier(place_of(text, "--warm-start")) for text in args.warm_start]
        plan, told = warmed(plan, data.noise.hash, known)
        for line in told:
            console.print(f"note: {line}", soft_wrap=True, highlight=False)
    weights = try_out(plan.example, data)
    heavy = heaviest(plan, data)
    total = None
    if local and local.gpus and (args.dry_run or local.sharing > 1 or heavy.rows.held):
        total = gpu_memory()
    room = total if local and local.gpus else free_memory()
    if local and room is not None:
        refuse_rows(heavy, local, room)
    if local and total:
        refuse_crowding(local, least_on_gpu(heavy.config, data, weights, total), total)
    if args.dry_run and args.json:
        raise ConfigError("--json tells how a study ended; leave it out with --dry-run")
    if args.dry_run:
        shown = local or Resources(args.cpus or 1.0, args.gpus or 0.0, args.concurrency or 1)
        found = forecast(plan, data, shown, store.folder, total)
        console.print(found, soft_wrap=True, highlight=False)
        return DONE
    if args.resume:
        check(manifest, data, store.folder)
    else:
        store.create()
    with store.claimed() as claim:
        try:
            if not args.resume:
                write_labels(store, data)
                # last: with it the folder is a study
                store.write_json("manifest.json", describe(plan, data, args.argv))
            return live(args, console, store, plan, data, local, claim.held)
        except (ConfigError, NotStartedError):
            if not args.resume:
                store.discard()  # nothing has begun
            raise


def live(
    args: Namespace,
    console: Console,
    store: Store,
    plan: Plan,
    data: Dataset,
    local: Resources | None,
    held: Callable[[], bool],
) -> int:
    """One life of a study, and what is said of it at the end; no longer `held`, it ends."""
    written = entries_of(plan, store.folder) if args.resume else []
    book = journal.Journal(store.folder / "journal", held)
    study = make_study(plan, lambda entry, flush: book.append(entry, flush=flush))
    holes = [hole for chain in plan.chains for hole in walk(chain.holes)]
    promise = Promise(
        name=store.folder.name,
        metric=plan.study["metric"],
        trials=study.dealer.shares,
        epochs=study.epochs,
        time_limit=args.time,
        free=study.dealer.free,
        equal=isinstance(study.dealer, Equal),
        second=plan.study.get("second", "none"),
    )
    manifest = store.read_json("manifest.json")
    lives = manifest["lives"]
    lives.append({"began": stamp(), "command": args.argv})
    manifest["plan"] = plan.plain  # which a resume may have changed
    store.write_json("manifest.json", manifest)
    with book, quiet_threads(), interruptible() as interrupt:
        study.replay(written, lambda r: bool(final(store.folder, r.segment, max(r.reports))))
        book.append({"kind": "life", "life": len(lives), "time": time.time()}, flush=True)
        if args.retry_failed:
            failed = study.retry()
            for record in failed:  # from its beginning, whatever a killed driver left of it
                strip(store.folder, record.segment, keep=False, last=0)
            if not failed:
                told = "no trial has failed, members of populations aside"
                console.print(f"note: --retry-failed: {told}", highlight=False)
        life = Life(
            study=study,
            store=store,
            holes=holes,
            task=plan.name,
            keep=plan.study["keep"],
            promise=promise,
            console=console,
            interrupt=interrupt,
            labels=manifest["noise"]["hash"],
            images=images(data),
            broken=lambda: book.broken is not None,
            held=held,
            flush=book.flush_due,
            max_failures=args.max_failures,
        )
        life.board.labels(data.noise.transitions, data.classes)
        for note in (*plan.notes, *notes(plan)):
            console.print(f"note: {note}", soft_wrap=True, highlight=False)
        if study.count(*ENDED) < study.trials and not interrupt.raised:
            console.print(STARTING, style="dim")
            with cluster(args.address) as found:
                interrupt.listen()  # Ray's core has put a handler there that aborts on SIGTERM
                life.run(local or cluster_resources(args, found))
        else:
            life.take_over()
            life.finish()
    finished = study.count(*ENDED) == study.trials
    how = "finished" if finished else "interrupted" if interrupt.raised else "out of time"
    lives[-1] |= {"ended": stamp(), "how": how, "seconds": round(life.seconds, 3)}
    store.write_json("manifest.json", manifest)
    resume = f"{program('python')} -m tuning.search --resume {shown_path(store.folder)}"
    resume += commandline.where(args)
    board = f"{program('tensorboard')} --logdir {shown_path(plain(store.folder.parent))}"
    if not finished:
        running = " (trials that ran, from their last checkpoints)" if how == "interrupted" else ""
        console.print(f"{how}; go on with the command below{running}", style="bold")
    console.print(summary(life.view(), promise))
    if losses := counted(study.records.values()):
        console.print(losses, soft_wrap=True, highlight=False, markup=False)
    following = board if finished else resume
    # for copying: never broken at the screen's width
    console.print(f"folder  {store.folder}\nnext    {following}", soft_wrap=True, highlight=False)
    if args.json:
        print(json.dumps(verdict(study, store, how, promise.second)))
    if how == "interrupted":
        return INTERRUPTED
    return DONE if study.count("done", "stopped") else NOTHING


def study_name(given: str | None, plan: Plan) -> str:
    """The study's name: a person's own, or made of methods, task and time."""
    if given is None:
        chains = "_".join(chain.chain for chain in plan.chains)
        return f"{chains}-{plan.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if given in (".", "..") or not given.strip() or any(mark in given for mark in "/\\\0"):
        raise ConfigError(f"--name {given}: must be the name of one folder, without a slash")
    return given


def verdict(study: Study, store: Store, how: str, second: str = "none") -> dict[str, Any]:
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
    told: dict[str, Any] = {"study": str(store.folder), "how": how, "trials": study.trials}
    told |= {name: study.count(name) for name in ("done", "stopped", "failed")} | {"best": best}
    if second != "none":
        told["front"] = [
            {"trial": record.name, "score": record.score, second: record.cost(second)}
            for record in front(ranking, second)
        ]
    return told


if __name__ == "__main__":
    sys.exit(main())
