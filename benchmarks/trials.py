"""What a trial costs the driver, over a thousand of them and over several nodes.

    python -m benchmarks.trials                          both parts
    python -m benchmarks.trials --part many --turns 3    1,000 trials that do nothing, and stock
    python -m benchmarks.trials --part nodes             sleeping trials on 1, 2, 4 and 8 nodes

Many: `benchmarks.overhead` with 1,000 trials and random search. Memory is the driver's resident
size, measured at the end of each trial; its growth is from the hundredth trial on, when everything
is imported. Stock runs the same Trainable with Tune's own parts and loggers.

Nodes: Ray nodes on this machine (`ray.cluster_utils`), one trial at a time on each. Trials sleep
instead of training, so nodes do not compete for cores; what is left is what the driver costs.
Efficiency counts from the moment when every node's actor has reported: seconds slept after that,
by all, over seconds passed times nodes, until the first trial ends after which none is left to
start. Reports on a node come every half second, trials end after three.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, spread
from benchmarks.overhead import EPOCHS, SIDES, Clock, Nothing, apart, search

NODES = (1, 2, 4, 8)
SLEEP = 0.5  # seconds a report
EACH = 10  # trials a node
WARM = 100  # trials before memory counts


class Meter(Clock):
    """Tells memory, too: the process's MiB at the end of each trial."""

    def __init__(self) -> None:
        super().__init__()
        self.mib: list[float] = []

    def end(self) -> None:
        super().end()
        self.mib.append(resident())


def resident() -> float:
    """MiB of this process now; where no /proc is, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    return pages * resource.getpagesize() / 2**20


def many(side: str, trials: int, folder: Path) -> dict[str, float]:
    """Run one side in this process."""
    meter = Meter()
    SIDES[side](trials, folder, meter, "random")
    times, mib = meter.times, meter.mib
    block = min(100, trials // 2)
    warm = min(WARM, trials // 2)
    grown = (mib[-1] - mib[warm - 1]) * 1000 / (trials - warm)
    return {
        "seconds": (times[-1] - times[0]) / trials,
        "first": (times[block] - times[0]) / block,
        "last": (times[-1] - times[-1 - block]) / block,
        "mib": max(mib),
        "grown": grown,
    }


class Sleeping(Nothing):
    """Sleeps before each report, which says in which process."""

    def step(self) -> dict[str, Any]:
        time.sleep(SLEEP)
        return super().step() | {"actor": os.getpid()}


class Watch(Clock):
    """When each report came, and from which process."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[float, int]] = []

    def report(self, report: dict[str, Any]) -> None:
        super().report(report)
        self.came.append((time.perf_counter(), report["actor"]))


def efficiency(came: list[tuple[float, int]], nodes: int) -> float:
    """Seconds slept over seconds passed, from when all actors stand until trials run out.

    Args:
        came: each report's time and actor, in order.
    """
    actors: set[int] = set()
    began = 0
    for number, (_, actor) in enumerate(came):
        actors.add(actor)
        if len(actors) == nodes:
            began = number
            break
    assert len(actors) == nodes, f"{len(actors)} actors on {nodes} nodes"
    end = len(came) - EPOCHS * nodes  # about here the last trials begin
    passed = came[end][0] - came[began][0]
    return (end - began) * SLEEP / (passed * nodes)


def spreading(nodes: int, folder: Path) -> dict[str, float]:
    """Run sleeping trials on so many nodes."""
    from ray.cluster_utils import Cluster

    from tuning.session import cluster

    watch = Watch()
    network = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(nodes):
            network.add_node(num_cpus=1)
        with cluster(network.address):
            search(EACH * nodes, folder, watch, "random", Sleeping, nodes, "fifo")
    finally:
        network.shutdown()
    passed = watch.came[-1][0] - watch.came[0][0]
    return {"efficiency": efficiency(watch.came, nodes), "seconds": passed}


def told_many(trials: int, turns: int) -> None:
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(turns):
        for side in SIDES:
            given = ["--trials", str(trials), "--side", side]
            found[side].append(apart("benchmarks.trials", *given, quiet=side == "ours"))
    print(f"{trials} trials that do nothing, random search, n = {turns} a side, in turns;")
    print("median (min - max); load at the end", round(os.getloadavg()[0], 1), "\n")
    print("| | s/trial | first 100 | last 100 | last / first | driver MiB | MiB per 1,000 |")
    print("|" + "---|" * 7)
    for side, runs in found.items():
        for run in runs:
            run["ratio"] = run["last"] / run["first"]
        forms = {"seconds": ".3f", "first": ".3f", "last": ".3f", "ratio": ".2f"}
        forms |= {"mib": ".0f", "grown": ".0f"}
        cells = [spread([run[key] for run in runs], form) for key, form in forms.items()]
        print("|", " | ".join([side, *cells]), "|")
    times = [
        mine["seconds"] / theirs["seconds"]
        for mine, theirs in zip(found["ours"], found["stock"], strict=True)
    ]
    memory = statistics.median(run["mib"] for run in found["ours"])
    memory /= statistics.median(run["mib"] for run in found["stock"])
    print(f"\nours / stock: seconds {spread(times, '.2f')}, memory {memory:.2f}")
    print("(wanted: at most 0.15 s/trial, 2 x last/first, 80 MiB per 1,000, 1.5 x stock)\n")


def told_nodes(turns: int) -> None:
    print(f"sleeping trials, {EACH} a node, n = {turns}; median (min - max)\n")
    print("| nodes | efficiency | seconds | load |\n|---|---|---|---|")
    for nodes in NODES:
        runs = [apart("benchmarks.trials", "--nodes", str(nodes), quiet=True) for _ in range(turns)]
        share = spread([run["efficiency"] for run in runs], ".3f")
        seconds = spread([run["seconds"] for run in runs], ".1f")
        print(f"| {nodes} | {share} | {seconds} | {os.getloadavg()[0]:.1f} |", flush=True)
    print("(wanted: at least 0.9 on 8)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--part", choices=["many", "nodes"], help="one alone")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(many(args.side, args.trials, args.folder)))
        return
    if args.nodes:
        print(json.dumps(spreading(args.nodes, args.folder)))
        return
    print(machine())
    if args.part != "nodes":
        told_many(args.trials, args.turns)
    if args.part != "many":
        told_nodes(args.turns)


if __name__ == "__main__":
    main()
