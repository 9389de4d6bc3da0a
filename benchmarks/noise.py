"""What every kind of noise does to the set it is meant for, what it takes, and how alike it is.

    python -m benchmarks.noise                    all cases; needs the sets (NOISETUNE_DATA)
    python -m benchmarks.noise --seeds 5          n = 5 seeds a case
    python -m benchmarks.noise --only instance    some of them

Each case runs in a process of its own; a cell is the median over the seeds with (minimum -
maximum). "Largest wrong" is the share of a class's wrong labels that its most frequent wrong class
has, the mean over the classes: 1 means that each class goes to one other, 1/(K-1) to all alike.
Seconds are of drawing the labels. Peak MB is that of the whole process, libraries and the mapped
pages of the images included. `cifar100-shaped` is 50,000 random images of a hundred classes: it
needs no file and shows time and memory only.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.machine import machine, spread
from trainables.config import build
from trainables.data.cache import open_data
from trainables.data.noise import NOISES, corrupt
from trainables.data.noise.base import Clean
from trainables.errors import ConfigError

Case = tuple[str, str, dict[str, Any]]  # source, kind, fields
CASES: list[Case] = [
    *(("cifar10", kind, {"rate": 0.4}) for kind in ("symmetric", "symmetric-inclusive")),
    *(("cifar10", kind, {"rate": 0.4}) for kind in ("pairflip", "tridiagonal")),
    *(
        (data, "asymmetric", {"rate": 0.4})
        for data in ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")
    ),
    ("cifar100", "asymmetric", {"rate": 0.4, "blocks": "ids"}),
    ("digits", "matrix", {"matrix": (0.8 * np.eye(10) + 0.02).tolist()}),
    *(
        (data, "instance", {"rate": 0.4, "scale": scale})
        for data in ("digits", "mnist", "fashion-mnist", "cifar10")
        for scale in ("raw255", "unit", "standardised")
    ),
    ("cifar10", "instance", {"rate": 0.2}),
    ("cifar100-shaped", "asymmetric", {"rate": 0.4}),
    ("cifar100-shaped", "instance", {"rate": 0.4}),
    ("cifar100-shaped", "instance", {"rate": 0.4, "scale": "standardised"}),
]
CAT, DOG = 3, 5


def opened(data: str) -> Clean:
    """A training source; the one of random images is made here."""
    if data == "cifar100-shaped":
        images = np.random.default_rng(0).integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8)
        return Clean("cifar100", np.arange(50_000) % 100, 100, images, np.arange(50_000))
    cached = open_data(data)
    labels = np.array(cached.labels)
    return Clean(data, labels, len(cached.classes), cached.images, np.arange(len(labels)))


def one(case: Case, seeds: int) -> dict[str, Any]:
    """Run one case in this process."""
    data, kind, fields = case
    try:
        clean = opened(data)
    except ConfigError as error:
        return {"missing": str(error)}
    found: dict[str, Any] = {"rate": [], "cat_dog": [], "dog_cat": [], "largest": [], "s": []}
    for seed in range(seeds):
        start = time.perf_counter()
        noise = corrupt(clean, build(NOISES[kind], fields), seed)
        found["s"].append(time.perf_counter() - start)
        sizes = noise.transitions.sum(1)
        wrong = noise.transitions - np.diag(np.diag(noise.transitions))
        moving = wrong.sum(1) > 0
        found["largest"].append(float((wrong.max(1)[moving] / wrong.sum(1)[moving]).mean()))
        found["rate"].append(noise.rate)
        found["cat_dog"].append(float(wrong[CAT, DOG] / sizes[CAT]))
        found["dog_cat"].append(float(wrong[DOG, CAT] / sizes[DOG]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on a Mac
    return {**found, "mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}


def apart(case: Case, seeds: int) -> dict[str, Any]:
    """Run one case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.noise", "--seeds", str(seeds)]
    command += ["--case", json.dumps(case)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{case} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="of each case")
    parser.add_argument("--only", help="cases whose source or kind holds this text")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(one(args.case, args.seeds)))
        return
    print(machine())
    print(f"n = {args.seeds} seeds a case; median (min - max)\n")
    print(
        "| source | noise | asked | realised | cat->dog | dog->cat | largest wrong | s | peak MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    everything, missing = [], []
    for case in CASES:
        data, kind, fields = case
        if args.only and args.only not in f"{data} {kind}":
            continue
        found = apart(case, args.seeds)
        if "missing" in found:
            missing.append(f"{data}: {found['missing']}")
            continue
        everything.append([case, found])
        own = [f"{value}" for key, value in fields.items() if key not in ("rate", "matrix")]
        pets = data == "cifar10"
        cells = [data, " ".join([kind, *own]), f"{fields.get('rate', '')}"]
        cells += [spread(found["rate"], ".4f")]
        cells += [spread(found[key], ".3f") if pets else "" for key in ("cat_dog", "dog_cat")]
        cells += [spread(found["largest"], ".3f"), spread(found["s"], ".2f"), f"{found['mb']:.0f}"]
        print("|", " | ".join(cells), "|", flush=True)
    for line in dict.fromkeys(missing):
        print(f"\nleft out: {line}")
    if args.json:
        print(json.dumps(everything))


if __name__ == "__main__":
    main()
