"""A plain trial to 94 % on clean CIFAR-10: epochs and time of the platform's own loop.

    python -m benchmarks.airbench --data-root FOLDER                    on a GPU
    python -m benchmarks.airbench --seeds 5 --compile
    python -m benchmarks.airbench --epochs 2 --per-class 20 --precision fp32     a smoke test, CPU

What to expect: not measured: no GPU was lent. Hardware, versions and n are printed with the result.

ResNet-18 without label noise: crop and flip, SGD with Nesterov momentum on a cosine to zero. All
test images are predicted after each epoch, in the time that counts; 2 % of the training images are
validated on. Test labels are read through the seal once all seeds have trained, and the opening is
recorded. Nothing is chosen by them: the epoch that reached the mark is found afterwards.
"""

import argparse
import json
import os
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.machine import clock, machine
from trainables.config import Config
from trainables.data.dataset import prepare, probe_images
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.models import MODELS
from tuning.sealed import open_labels

MARK = 0.94


@dataclass
class Run:
    """One seed's training, an entry an epoch.

    Attributes:
        seconds: since the first step; setting up is not in it.
        predicted: (T,) classes of the test images.
    """

    seconds: list[float]
    predicted: list[np.ndarray]


@dataclass(frozen=True)
class Reached:
    """Clean accuracy after each epoch, and where it first was at the mark, if it was."""

    accuracy: list[float]
    seconds: list[float]
    epoch: int | None


def config_of(args: argparse.Namespace, seed: int) -> Config:
    plain: dict[str, Any] = {
        "data": "cifar10",
        "per_class": args.per_class,
        "noise": {"kind": "none"},
        "split": {"validation": 0.02},
        "model": args.model,
        "augment": True,
        "precision": args.precision,
        "compile": args.compile,
        "epochs": args.epochs,
        "optim": {"lr": args.lr, "nesterov": True, "batch": args.batch, "schedule": "cosine"},
        "seed": seed,
    }
    return Config.parse(plain)


def train(config: Config) -> Run:
    loop = Loop(config, prepare(config.task), probe=probe_images("cifar10"))
    run, began = Run([], []), clock()
    while not loop.ended:
        loop.train()
        run.seconds.append(clock() - began)
        print(f"seed {config.seed}, epoch {loop.epoch}: {run.seconds[-1]:.1f} s", flush=True)
    run.predicted = [logits.float().argmax(1).numpy() for logits in loop.probed]
    loop.close()
    return run


def reached(run: Run, labels: np.ndarray, mark: float) -> Reached:
    """Judge a run on the true labels (T,)."""
    accuracy = [float((predicted == labels).mean()) for predicted in run.predicted]
    at = next((epoch for epoch, value in enumerate(accuracy, 1) if value >= mark), None)
    return Reached(accuracy, run.seconds, at)


def told(found: Reached, mark: float) -> str:
    """One seed in words."""
    if not found.accuracy:
        return "diverged in its first epoch"
    last = f"{100 * found.accuracy[-1]:.2f} % after the last, {found.seconds[-1]:.1f} s in all"
    if found.epoch is None:
        return f"{100 * mark:.0f} % not reached (best {100 * max(found.accuracy):.2f} %); {last}"
    when = found.seconds[found.epoch - 1]
    return f"{100 * mark:.0f} % after epoch {found.epoch}, {when:.1f} s; {last}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="resnet18")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--compile", action="store_true", help="its warm-up is in the time")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--per-class", type=int, help="only so many training images of each class")
    parser.add_argument("--threads", type=int, help="of a CPU (all)")
    parser.add_argument("--data-root", help="the folder of the original files, NOISETUNE_DATA")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    if args.data_root:
        os.environ["NOISETUNE_DATA"] = args.data_root
    if args.threads:
        torch.set_num_threads(args.threads)
    print(machine())
    settings = f"{args.model}, {args.epochs} epochs, batch {args.batch}, lr {args.lr}"
    print(f"{settings}, {args.precision}{', compiled' if args.compile else ''}\n")
    try:
        runs = [train(config_of(args, seed)) for seed in range(args.seeds)]
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    labels = open_labels("cifar10", "benchmarks/airbench.py")
    found = [reached(run, labels, MARK) for run in runs]
    print("\n| epoch | seconds | clean test accuracy, seed 0 |\n|---|---|---|")
    for epoch, (seconds, accuracy) in enumerate(
        zip(found[0].seconds, found[0].accuracy, strict=False), 1
    ):
        print(f"| {epoch} | {seconds:.1f} | {accuracy:.4f} |")
    print()
    for seed, one in enumerate(found):
        print(f"seed {seed}: {told(one, MARK)}")
    last = [100 * one.accuracy[-1] for one in found if one.accuracy]
    if len(last) > 1:
        mean, sd = statistics.mean(last), statistics.stdev(last)
        print(f"last epoch, mean +- sd (n = {len(last)} seeds): {mean:.2f} +- {sd:.2f} %")
    if args.json:
        print(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main()
