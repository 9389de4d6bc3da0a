"""Why some methods end below cross-entropy on the leaderboard: an experiment for each reason.

    python -m benchmarks.worse      2 minutes on two cores

Each line names a reason and a trial that would refute it, trained on 5 seeds as the leaderboard
trains (benchmarks/leaderboard.py). The last column counts the classes that are given up: less than
a tenth of their test images are named right. The table goes to standard output, in Markdown.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.leaderboard import CASES, seeded
from benchmarks.machine import machine
from benchmarks.ranking import RULE
from benchmarks.trained import Run, picked, spread, train_all
from tuning.sealed import open_labels
from tuning.space import load


@dataclass(frozen=True)
class Experiment:
    """A trial that could refute a reason.

    Attributes:
        reason: why a method ended below cross-entropy.
        noise: a key of the leaderboard's CASES.
        methods: with their settings.
        sets: in the words of `--set`.
    """

    reason: str
    noise: str
    methods: dict[str, dict[str, Any]]
    sets: tuple[str, ...]


GIVEN_UP = 0.1  # share of a class's images
STEEP = "the last epoch is worse for a larger learning rate, not for the method: plain training at"
EXPERIMENTS = (
    Experiment(f"{STEEP} smooth's", "symmetric-40", {}, ("optim.lr=0.05",)),
    Experiment(f"{STEEP} mr's", "tail-40", {}, ("optim.lr=0.0132",)),
    Experiment(f"{STEEP} aux's", "tail-40", {}, ("optim.lr=0.0116",)),
    Experiment(f"{STEEP} smooth's", "tail-40", {}, ("optim.lr=0.0108",)),
    Experiment(
        "8 trials and the best epoch of noisy validation chose too small a lambda: rdi at 20",
        "symmetric-60",
        {"rdi": {"lambda": 20.0}},
        ("optim.lr=0.05",),
    ),
    Experiment(
        "mae learns slowly: three times the epochs",
        "tail-40",
        {"mae": {}},
        ("optim.lr=0.05", "epochs=90"),
    ),
    Experiment(
        "mae learns slowly: three times the epochs",
        "asymmetric-40",
        {"mae": {}},
        ("optim.lr=0.0124", "epochs=90"),
    ),
    Experiment(
        "mae gives up whole classes, whose images all look wrong: its own setting",
        "asymmetric-40",
        {"mae": {}},
        ("optim.lr=0.0124",),
    ),
    Experiment(
        "the same, at a larger learning rate",
        "asymmetric-40",
        {"mae": {}},
        ("optim.lr=0.05",),
    ),
    Experiment(
        "the same, plain training beside it",
        "asymmetric-40",
        {},
        ("optim.lr=0.0124",),
    ),
    Experiment(
        "random weights leave out half of each batch: plain training on batches of 16",
        "symmetric-60",
        {},
        ("optim.lr=0.00603", "optim.batch=16"),
    ),
)


def given_up(runs: Sequence[Run], labels: np.ndarray) -> str:
    """Classes of which less than a tenth is named right at the last epoch: mean +- sd over runs."""
    classes = np.unique(labels)
    counts = np.array(
        [
            sum((run.predicted[-1][labels == k] == k).mean() < GIVEN_UP for k in classes)
            for run in runs
        ]
    )
    return f"{counts.mean():.1f} +- {counts.std(ddof=1):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, default=Path("results/worse"))
    args = parser.parse_args()
    print(
        f"{machine()}\n\n| noise | reason, trial | selected epoch | last epoch | given up |\n"
        "|---|---|---|---|---|"
    )
    found = []
    for one in EXPERIMENTS:
        case = CASES[one.noise]
        values = [*case.settings(None), *one.sets]
        plan = load("ce", task="digits", spaces=[], settings=values, seed=0, study_flags={})
        plain = {**plan.example.plain, "methods": one.methods}
        with case.home():
            configs = [seeded(plain, seed) for seed in range(args.seeds)]
            found.append(train_all(args.out.absolute() / one.noise, configs, args.workers))
    labels = open_labels("digits", "benchmarks/worse.py")
    for one, runs in zip(EXPERIMENTS, found, strict=True):
        cells = [spread(picked(runs, rule, labels)) for rule in (RULE, "last")]
        cells.append(given_up(runs, labels))
        told = ", ".join(one.sets)
        print(f"| {one.noise} | {one.reason} ({told}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
