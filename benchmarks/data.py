"""How long a data set takes from its original files to the first batch, cold and warm.

    python -m benchmarks.data --data-root FOLDER              all sets
    python -m benchmarks.data --data-root FOLDER --sets digits

Each figure is of a fresh process: cold with an empty cache (the original files are read, verified,
and written into it), warm with the cache that this one left. The system may still hold the files in
its memory; on a disk that it has to read them from, cold takes as much longer. Time begins after
the imports, which have a column of their own, and ends with a batch of 128 normalised images on the
device; noise is made and the split is drawn in between. Neither network nor optimizer is made:
torch's first optimizer imports its compiler, which takes longer than all this. Memory is the
process's peak, pages of mapped files included.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.homes import own_home
from benchmarks.machine import clock, machine, spread
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.data.resident import Resident, scaled
from trainables.errors import ConfigError

SETS = ("digits", "mnist", "fashion-mnist", "cifar10")
BATCH = 128


@dataclass(frozen=True)
class First:
    """What a process took up to its first batch.

    Attributes:
        seconds: since its imports.
        imports: seconds of the process beside these.
        mb: most memory that it had, in MB; None where the system does not tell.
    """

    seconds: float
    imports: float
    mb: float | None


def first_batch(name: str) -> tuple[float, float | None]:
    """Seconds up to a first batch, and the most memory this process has had."""
    torch.set_num_threads(1)
    began = clock()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    own = Resident(prepare(Config.parse({"data": name}).task), device, None)
    batch = own.normalised(scaled(own.training(torch.arange(BATCH, device=device))))
    assert batch.isfinite().all()
    return clock() - began, peak()


def peak() -> float | None:
    """The most memory this process has had, in MB; `ru_maxrss` would count its parent's, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(
        int(line.split()[1]) / 1000 * 1.024
        for line in status.read_text().splitlines()
        if line.startswith("VmHWM:")
    )


def apart(name: str) -> First:
    """The same in a fresh process."""
    began = clock()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, mb = pool.submit(first_batch, name).result()
        return First(seconds, clock() - began - seconds, mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--turns", type=int, default=5, help="of each set")
    parser.add_argument("--data-root", help="the folder of the original files, NOISETUNE_DATA")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    if args.data_root:
        os.environ["NOISETUNE_DATA"] = args.data_root
    found: dict[str, dict[str, list[First]]] = {
        name: {"cold": [], "warm": []} for name in args.sets
    }
    print(machine())
    print(f"n = {args.turns} processes of each; median (min - max)\n")
    try:
        for _ in range(args.turns):
            for name in args.sets:
                with own_home():
                    for kind in ("cold", "warm"):
                        found[name][kind].append(apart(name))
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    print("| set | cache | first batch, s | imports, s | peak, MB |")
    print("|---|---|---|---|---|")
    for name, kinds in found.items():
        for kind, runs in kinds.items():
            cells = [spread([run.seconds for run in runs], ".2f")]
            cells += [spread([run.imports for run in runs], ".1f")]
            sizes = [run.mb for run in runs if run.mb is not None]
            cells += [spread(sizes, ".0f") if sizes else "not told by this system"]
            print(f"| {name} | {kind} | {' | '.join(cells)} |")
    if args.json:
        plain = {
            name: {kind: [asdict(run) for run in runs] for kind, runs in kinds.items()}
            for name, kinds in found.items()
        }
        print(json.dumps(plain))


if __name__ == "__main__":
    main()
