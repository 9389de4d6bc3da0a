"""Every method alone and eight combinations, tuned alike, on five kinds of noisy digits.

    python -m benchmarks.leaderboard      all of it, about an hour on two quiet cores
    python -m benchmarks.leaderboard --noise pairflip-40 --chains ce mr mr+mixup --epochs 10

For each noise one study (`tuning.search`, as a user would call it, the task's searcher, scheduler
and selection) tunes all chains, --trials each, on one draw of the noise: seed 0. The best config
of each chain is trained again on seeds 0, 1, ..., where seed s sets noise, split, initialisation
and batches, so that chains are paired on s. Validation labels are as noisy as training labels.

`tail-40` is symmetric noise on a long-tailed training source (benchmarks/tail.py): class c keeps
10^(-c/9) of its images. Its validation split has the same tail, since a user with such data has no
other; the test images stay balanced, so that clean accuracy is the mean over classes. Asymmetric
noise moves 40 % of those digits that have a look-alike: 20 % of all labels.

All test labels are opened once, after the last choice. What is searched or trained is kept under
--out and not done again. The tables go to standard output, in Markdown.
"""

import argparse
import copy
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.ranking import RULE, Entrant, plain_of, regrets, scored, table, worse
from benchmarks.tail import tailed_home
from benchmarks.trained import search, train_all
from trainables.methods import METHODS
from trainables.methods.chain import PLAIN, name_of, parse
from tuning.sealed import open_labels

COMBINATIONS = (
    "mr+mixup",
    "mr+smooth",
    "mr+sop",
    "sop+mixup",
    "aux+cdr",
    "cdr+rdi",
    "mr+reset",
    "mr+mixup+reset",
)
CHAINS = (PLAIN, *METHODS, *COMBINATIONS)
SEED = 0  # of the search, and of the noise it sees


@dataclass(frozen=True)
class Case:
    """One kind of noise, and the data cache it is on."""

    kind: str
    rate: float
    home: Callable[[], AbstractContextManager[Any]] = nullcontext

    def settings(self, epochs: int | None) -> list[str]:
        """In the words of `--set`."""
        made = [f"noise.kind={self.kind}", f"noise.rate={self.rate}"]
        made += [f"noise.seed={SEED}", f"split.seed={SEED}", f"study.select={RULE}"]
        return made + ([f"epochs={epochs}"] if epochs else [])


CASES = {
    "symmetric-40": Case("symmetric", 0.4),
    "symmetric-60": Case("symmetric", 0.6),
    "pairflip-40": Case("pairflip", 0.4),
    "asymmetric-40": Case("asymmetric", 0.4),
    "tail-40": Case("symmetric", 0.4, tailed_home),
}


def seeded(plain: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A trial's config on another draw of everything.

    >>> seeded({"noise": {"kind": "none", "seed": 0}, "split": {}, "seed": 0}, 2)
    {'noise': {'kind': 'none', 'seed': 2}, 'split': {'seed': 2}, 'seed': 2}
    """
    made = copy.deepcopy(dict(plain))
    made["noise"]["seed"] = made["split"]["seed"] = made["seed"] = seed
    return made


def enter(args: Namespace, name: str) -> dict[str, Entrant]:
    """Search and train all chains on one noise."""
    case, out = CASES[name], args.out / name
    began = time.monotonic()
    with case.home():
        best = search(
            out,
            args.chains,
            "digits",
            case.settings(args.epochs),
            trials=args.trials,
            seed=SEED,
            workers=args.workers,
        )
        between = time.monotonic()
        print(f"{name}: searched in {between - began:.0f} s", file=sys.stderr)
        for chain in set(args.chains) - set(best):
            print(f"{name}: {chain} is left out, none of its trials could win", file=sys.stderr)
        configs = [seeded(r.config, seed) for r in best.values() for seed in range(args.seeds)]
        runs = iter(train_all(out, configs, args.workers))
    print(f"{name}: trained in {time.monotonic() - between:.0f} s", file=sys.stderr)
    return {
        chain: Entrant(record.params, [next(runs) for _ in range(args.seeds)])
        for chain, record in best.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", nargs="+", default=list(CHAINS), metavar="CHAIN")
    parser.add_argument("--noise", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--trials", type=int, default=8, help="per chain and noise")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each chosen config")
    parser.add_argument("--epochs", type=int, help="of a trial (the task's)")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, default=Path("results/leaderboard"))
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    args.out = args.out.absolute()
    args.chains = list(dict.fromkeys(name_of(parse(chain)) for chain in [PLAIN, *args.chains]))
    print(f"{machine()}\n", flush=True)
    entered = {name: enter(args, name) for name in args.noise}
    # the test images and their labels are the same in every case
    labels = open_labels("digits", "benchmarks/leaderboard.py")
    board = {name: scored(entrants, labels) for name, entrants in entered.items()}
    for name, rows in board.items():
        print(f"### {name}\n", *table(rows), "", sep="\n")
    print("### Regret of each rule in points, mean over chains and seeds\n")
    print("Clean accuracy of a training's best epoch, minus that of the epoch the rule picks.\n")
    print(
        *regrets(board),
        "",
        "### Worse than ce by more than the spread of the difference\n",
        sep="\n",
    )
    print(*(worse(board) or ["None."]), sep="\n")
    if args.json:
        plain = {
            name: {c: plain_of(row) for c, row in rows.items()} for name, rows in board.items()
        }
        print(json.dumps(plain))


if __name__ == "__main__":
    main()
