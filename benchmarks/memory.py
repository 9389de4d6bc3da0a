"""What memory a trial has to itself, and what trials of one machine share.

    python -m benchmarks.memory --data-root FOLDER     on Linux; needs CIFAR-10's original files

Each stage is a fresh process: with torch and the platform imported; digits opened and split;
CIFAR-10 opened and split. Then some trials at once train CIFAR-10 for two steps and read every
image once. Of /proc/self/smaps:

    private   pages that this process alone has. Those of the data's map count only if written to:
              they are the system's file cache, and one process's alone only until a second reads
    map       pages of the data's map that this process has touched
    map, PSS  the same, each page divided by the number of processes that have it
    PSS       all of the process's pages, so divided

On a GPU the memory that one trial of ResNet-18 with batches of 128 takes there is told, too.
"""

import argparse
import json
import os
import re
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.homes import own_home
from benchmarks.machine import machine, spread
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.errors import ConfigError
from trainables.loop import Loop

MOST = 15.0  # MB that CIFAR-10 may take more than digits
TOGETHER = (1, 2, 4)
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)")


@dataclass(frozen=True)
class Memory:
    """Of one process, in MB; the columns of the table, and all pages that are private."""

    private: float
    map: float
    map_pss: float
    pss: float
    rollup: float  # private pages as smaps_rollup counts them


def memory(smaps: str, folder: str) -> Memory:
    """Add up a process's mappings.

    Args:
        smaps: what /proc/<pid>/smaps says.
        folder: the data cache; files below it are the data's map.
    """
    private = mapped = mapped_pss = pss = rollup = 0
    ours = False
    for line in smaps.splitlines():
        mapping = MAPPING.fullmatch(line)
        if mapping:
            ours = mapping[1].startswith(f"{folder}/")
            continue
        name, _, rest = line.partition(":")
        if not rest.endswith(" kB"):
            continue
        kilobytes = int(rest.split()[0])
        alone = name in ("Private_Clean", "Private_Dirty")
        rollup += kilobytes * alone
        private += kilobytes * (alone and not (ours and name == "Private_Clean"))
        pss += kilobytes * (name == "Pss")
        mapped += kilobytes * (ours and name == "Rss")
        mapped_pss += kilobytes * (ours and name == "Pss")
    return Memory(*(1.024e-3 * size for size in (private, mapped, mapped_pss, pss, rollup)))


def of_this() -> Memory:
    return memory(Path("/proc/self/smaps").read_text(), os.environ["NOISETUNE_HOME"])


def stage(name: str | None) -> Memory:
    """Of this process, once it has opened and split a data set."""
    torch.set_num_threads(1)
    data = prepare(Config.parse({"data": name}).task) if name else None
    found = of_this()
    del data
    return found


def trial(line: Connection) -> None:
    """Train two steps, read all images, and tell this process's memory when all others wait."""
    torch.set_num_threads(1)
    config = Config.parse({"data": "cifar10", "model": "lenet", "optim": {"batch": 128}})
    data = prepare(config.task)
    loop = Loop(config, data, device="cpu")
    for _ in range(2):
        loop.advance()
    data.images.max()
    line.send(None)
    line.recv()
    line.send(of_this())
    line.recv()


def together(count: int) -> list[Memory]:
    """Of so many trials at once.

    Raises:
        EOFError: a trial failed; its process has told why.
    """
    spawn = get_context("spawn")
    lines, processes = [], []
    for _ in range(count):
        line, end = spawn.Pipe()
        processes.append(spawn.Process(target=trial, args=(end,), daemon=True))
        processes[-1].start()
        end.close()
        lines.append(line)
    for line in lines:
        line.recv()
    found = []
    for line in lines:
        line.send(True)
        found.append(line.recv())
    for line, process in zip(lines, processes, strict=True):
        line.send(True)
        process.join()
    return found


def on_gpu() -> tuple[float, float]:
    """MB that a trial of ResNet-18 has, and holds, of the GPU at most."""
    settings = {"data": "cifar10", "model": "resnet18", "augment": True, "optim": {"batch": 128}}
    loop = Loop(Config.parse(settings), device="cuda")
    for _ in range(10):
        loop.advance()
    loop.validate()
    return torch.cuda.max_memory_allocated() / 1e6, torch.cuda.max_memory_reserved() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="processes of each stage")
    parser.add_argument("--data-root", help="the folder of the original files, NOISETUNE_DATA")
    parser.add_argument("--random", action="store_true", help="random images for CIFAR-10")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    if args.data_root:
        os.environ["NOISETUNE_DATA"] = args.data_root
    print(machine())
    print(f"n = {args.turns} processes a stage; MB, median (min - max)\n")
    stages: dict[str, list[Memory]] = {"imported": [], "digits": [], "cifar10": []}
    trials: dict[int, list[Memory]] = {}
    gpu = None
    with own_home(args.random):
        try:
            for name in ("digits", "cifar10"):
                prepare(Config.parse({"data": name}).task)  # writes the cache
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        for _ in range(args.turns):
            for name, found in stages.items():
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found.append(pool.submit(stage, None if name == "imported" else name).result())
        for count in TOGETHER:
            trials[count] = together(count)
        if torch.cuda.is_available():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                gpu = pool.submit(on_gpu).result()
    print("| process | private | map | map, PSS | PSS |\n|---|---|---|---|---|")
    rows = {**stages, **{f"{count} trials at once, each": x for count, x in trials.items()}}
    for name, found in rows.items():
        columns = zip(*((x.private, x.map, x.map_pss, x.pss) for x in found), strict=True)
        print(f"| {name} | {' | '.join(spread(column, '.1f') for column in columns)} |")
    pairs = list(zip(stages["cifar10"], stages["digits"], strict=True))
    more = [large.private - small.private for large, small in pairs]
    strict = [large.rollup - small.rollup for large, small in pairs]
    fits = "yes" if statistics.median(more) < MOST else "NO"
    print(f"\nCIFAR-10 less digits, private: {spread(more, '.1f')} MB; below {MOST:.0f} MB: {fits}")
    print(f"the same by smaps_rollup, untouched maps or not: {spread(strict, '.1f')} MB")
    for count, found in trials.items():
        whole, shares = max(x.map for x in found), sum(x.map_pss for x in found)
        told = f"{shares / whole:.2f} copies of {whole:.0f} MB in memory"
        print(f"{count} trials at once: {told}")
    if gpu:
        told = "{:.0f} MB allocated, {:.0f} MB reserved".format(*gpu)
        print(f"GPU, ResNet-18, CIFAR-10, batch 128, fp32, at most: {told}")
    if args.json:
        plain = {name: [asdict(x) for x in found] for name, found in rows.items()}
        print(json.dumps({**plain, "gpu": gpu}))


if __name__ == "__main__":
    main()
