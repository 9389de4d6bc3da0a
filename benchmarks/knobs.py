"""Clean accuracy on digits against one knob of a method: AUX's lambda, MR's eta and MR's cap.

    python -m benchmarks.knobs            all three, 3 seeds (about 5 minutes on two quiet cores)
    python -m benchmarks.knobs mr-eta --seeds 5 --out results/knobs

40 % symmetric noise, the learning rate of each sweep fixed; seed s sets noise, split,
initialisation and batches. Draws mean and deviation at the epoch that `select: best` picks on noisy
validation and at the last one, beside plain cross-entropy at the same learning rate. Writes
<knob>.csv and <knob>.png into --out; what is trained is kept there and not trained again.

After: "auxiliary variables" of Hu, Li, Yu as a report on CDR with AUX draws it (its Figure 2: test
accuracy rises with lambda, then falls), and Figures 5 and 6 of Bar, Koren, Giryes on MR.
"""

import argparse
import csv
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.plot import Axis, Curve, plot, png
from benchmarks.trained import Run, picked, spread, train_all
from tuning.sealed import open_labels

RULES = ("best", "last")


@dataclass(frozen=True)
class Sweep:
    """One knob and what stands still beside it.

    Attributes:
        title: above the picture.
        knob: name of the knob, on the x axis.
        method: whose knob it is.
        field: its name in a config.
        values: to train at, ascending.
        fixed: the method's other settings.
        lr: learning rate.
        log: whether the x axis is.
    """

    title: str
    knob: str
    method: str
    field: str
    values: tuple[float, ...]
    fixed: dict[str, float]
    lr: float
    log: bool = True


SWEEPS = {
    "aux-lambda": Sweep(
        "Auxiliary variables",
        "lambda",
        "aux",
        "lambda",
        (0.1, 0.3, 1.0, 2.0, 4.0, 7.0, 10.0, 20.0, 40.0),
        {},
        0.05,
    ),
    "mr-eta": Sweep(
        "Multiplicative Reweighting",
        "eta, per nat",
        "mr",
        "eta",
        (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        {},
        0.01,
    ),
    "mr-cap": Sweep(
        "Multiplicative Reweighting, eta 0.3",
        "share of the examples that must count (1: no cap on the weights)",
        "mr",
        "max_weight",
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        {"eta": 0.3},
        0.01,
        log=False,
    ),
}


def config_of(sweep: Sweep, value: float | None, seed: int, epochs: int | None) -> dict[str, Any]:
    """A trial at a value of the knob; plain cross-entropy for None."""
    knobs = {} if value is None else {sweep.method: {**sweep.fixed, sweep.field: value}}
    plain = {
        "noise": {"kind": "symmetric", "rate": 0.4, "seed": seed},
        "split": {"validation": 0.25, "seed": seed},
        "optim": {"lr": sweep.lr},
        "methods": knobs,
        "seed": seed,
    }
    return plain | ({"epochs": epochs} if epochs else {})


def curves(
    values: Sequence[float], plain: Sequence[Run], groups: Sequence[Sequence[Run]], labels: Any
) -> list[Curve]:
    """What is drawn: accuracies in % at both epochs, and cross-entropy's as flat dashed lines."""
    drawn = []
    for colour, (rule, where) in enumerate(zip(RULES, ("selected", "last"), strict=True)):
        found = [100 * picked(group, rule, labels) for group in groups]
        ends = (values[0], values[-1])
        flat = (100 * float(picked(plain, rule, labels).mean()),) * 2
        error = [float(each.std(ddof=1)) if len(each) > 1 else 0.0 for each in found]
        means = [float(each.mean()) for each in found]
        name = f"{where} epoch"
        drawn.append(Curve(name, values, means, error, points=True, colour=colour))
        drawn.append(Curve(f"ce, {name}", ends, flat, dashed=True, colour=colour))
    return drawn


def sweep_all(args: Namespace) -> None:
    """Train every value of every knob, then open the labels and draw."""
    seeds = range(args.seeds)
    cells = [(name, value) for name in args.knob for value in (None, *SWEEPS[name].values)]
    configs = [
        config_of(SWEEPS[k], value, seed, args.epochs) for k, value in cells for seed in seeds
    ]
    runs = iter(train_all(args.out, configs, args.workers))
    trained = {cell: [next(runs) for _ in seeds] for cell in cells}
    labels = open_labels("digits", "benchmarks/knobs.py")
    for name in args.knob:
        sweep = SWEEPS[name]
        plain, groups = trained[name, None], [trained[name, value] for value in sweep.values]
        write(args.out / f"{name}.csv", sweep, trained, name, labels)
        told = f"{sweep.title}: digits, 40 % symmetric noise, lr {sweep.lr:g}, {args.seeds} seeds"
        picture = plot(
            curves(sweep.values, plain, groups, labels),
            told,
            Axis(sweep.knob, log=sweep.log),
            Axis("clean test accuracy, %"),
        )
        (args.out / f"{name}.png").write_bytes(png(picture))
        print(f"### {told}\n\n| {sweep.field} | selected epoch | last epoch |\n|---|---|---|")
        for value, group in zip(("ce", *sweep.values), (plain, *groups), strict=True):
            texts = [spread(picked(group, rule, labels)) for rule in RULES]
            print(f"| {value} | {' | '.join(texts)} |")
        print()


def write(path: Path, sweep: Sweep, trained: Any, name: str, labels: np.ndarray) -> None:
    """One line per value and seed; an empty value is plain cross-entropy."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([sweep.field, "seed", "selected", "last"])
        for value in (None, *sweep.values):
            group = trained[name, value]
            both = [picked(group, rule, labels) for rule in RULES]
            for seed, shares in enumerate(zip(*both, strict=True)):
                lines.writerow([value, seed, *(f"{share:.6f}" for share in shares)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "knob", nargs="*", default=list(SWEEPS), metavar="KNOB", help=", ".join(SWEEPS)
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of a trial (the task's)")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, default=Path("results/knobs"))
    args = parser.parse_args()
    for name in args.knob:
        if name not in SWEEPS:
            parser.error(f"knob {name}: must be one of {', '.join(SWEEPS)}")
    args.out = args.out.absolute()
    print(f"{machine()}\n", flush=True)
    sweep_all(args)


if __name__ == "__main__":
    main()
