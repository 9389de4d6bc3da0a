"""How much of a hand-written loop's speed the platform keeps.

    python -m benchmarks.throughput                               all cases, fp32, one thread
    python -m benchmarks.throughput --cases resnet18 --turns 5    those whose name has the word
    python -m benchmarks.throughput --precision bf16
    python -m benchmarks.throughput --random                      where MNIST and CIFAR-10 are not

Both sides train the same network on the same data, in turns within one process: the same number of
draws of the same kind (one permutation an epoch, one move and flip per image and batch), the same
moves, scaling and normalisation, channels_last, fused SGD on a cosine, training loss and accuracy
summed on the device. Building model and data is timed on neither side; no checkpoint is taken. The
bare loop, at most 60 lines, is in `bare`.

A turn is whole epochs with a validation after each, by Tune's `train()` of a Trial (by Loop.train
where there is no Ray). For ResNet-18 on a CPU it is the first steps of an epoch, by Loop.advance,
and neither side validates. MNIST is its first 600 images of each class. On a GPU, and with
--profile on a CPU, what the time goes into is listed, too.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks import choices
from benchmarks.bare import LR, arrays, bare
from benchmarks.homes import own_home
from benchmarks.kernels import profiled, table
from benchmarks.machine import clock, machine, spread
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.errors import ConfigError
from trainables.loop import Loop

WARM = 3  # steps before those that are profiled


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        config: the trial, but epochs, learning rate and precision.
        batch: rows of one.
        epochs: of a turn.
        short: whether a turn on a CPU is a few steps only.
    """

    config: dict[str, Any]
    batch: int
    epochs: int = 1
    short: bool = False

    def plain(self, precision: str) -> dict[str, Any]:
        optim = {"lr": LR, "batch": self.batch}
        return {**self.config, "precision": precision, "epochs": self.epochs, "optim": optim}


DIGITS = {"data": "digits", "model": "cnn"}
MNIST = {"data": "mnist", "model": "lenet", "per_class": 600, "split": {"validation": 0.1}}
CIFAR = {"data": "cifar10", "model": "resnet18", "augment": True, "split": {"validation": 0.1}}
CASES = {
    "digits cnn 32": Case(DIGITS, 32, epochs=6),
    "digits cnn 32 augmented": Case({**DIGITS, "augment": True}, 32, epochs=6),
    "mnist lenet 32": Case(MNIST, 32, epochs=2),
    "mnist lenet 128": Case(MNIST, 128, epochs=2),
    "cifar10 resnet18 128": Case(CIFAR, 128, short=True),
}


@dataclass
class Turns:
    """What a case took, turn by turn.

    Attributes:
        driver: what trained our side.
        images: trained on in a turn.
        bare, ours: seconds of a turn.
        wall, cpu: our speed as a share of the bare loop's, by the clock and by the process's own
            processor time, which other programs disturb less.
        losses: the last loss of the bare loop and ours.
    """

    driver: str
    images: int
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: tuple[float, float] = (0.0, 0.0)


def timed(run: Callable[[], float]) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor that a call takes, and what it gives."""
    began, processor = clock(), time.process_time()
    loss = run()  # reads the loss, and so waits for the device
    return clock() - began, time.process_time() - processor, loss


def by_steps(loop: Loop, steps: int) -> float:
    """Train so many steps; gives their mean loss."""
    for _ in range(steps):
        loop.advance()
    return float(loop.sums[0]) / (steps * loop.batch)


def by_reports(report: Callable[[], dict[str, Any]]) -> float:
    """Train to the end, report by report; gives the last validation loss."""
    while not (result := report())["done"]:
        pass
    loss: float = result["val/loss"]
    return loss


def driver_of(short: bool) -> str:
    if short:
        return "Loop.advance"
    return "Trial.train" if find_spec("ray") else "Loop.train"


def compare(plain: dict[str, Any], turns: int, few: int) -> Turns:
    """Run a case in turns, the first one unmeasured; who goes first changes from turn to turn.

    Args:
        plain: the trial's config.
        turns: how many are measured.
        few: steps of a turn, below those of an epoch; 0 for the trial's epochs.
    """
    config = Config.parse(plain)
    data, task = prepare(config.task), config.task
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flat, half, batch = arrays(data, device), task.precision == "bf16", task.optim.batch
    threads = torch.get_num_threads()
    images = few * batch or task.epochs * len(data.train)
    found = Turns(driver_of(bool(few)), images)
    for turn in range(turns + 1):
        model = Loop(config, data, device=device).model
        theirs = partial(bare, model, flat, batch, task.epochs, few, half)
        if found.driver == "Trial.train":
            from trainables.trial import Trial  # a machine that only trains has no Ray

            trial = Trial(plain)
            torch.set_num_threads(threads)  # a Trial takes what Tune granted it
            mine, close = partial(by_reports, trial.train), trial.stop
        else:
            loop = Loop(config, data, device=device)
            mine = partial(by_steps, loop, few) if few else partial(by_reports, loop.train)
            close = loop.close
        first = timed(mine) if turn % 2 else None
        other = timed(theirs)
        ours = first or timed(mine)
        close()
        found.losses = other[2], ours[2]
        if turn:
            found.bare.append(other[0])
            found.ours.append(ours[0])
            found.wall.append(other[0] / ours[0])
            found.cpu.append(other[1] / ours[1])
    return found


def show_profile(name: str, plain: dict[str, Any], steps: int) -> None:
    """Print where a case's steps spend their time: kernels, and the host's own work."""
    loop = Loop(Config.parse({**plain, "epochs": 100}))
    by_steps(loop, WARM)
    seconds = timed(partial(by_steps, loop, steps))[0]
    found = profiled(partial(by_steps, loop, steps))
    loop.close()
    print(f"\n{name}: {1e3 * seconds / steps:.2f} ms/step without the profiler")
    if found.kernels:
        print(f"GPU utilisation (kernels' time / the clock's): {found.busy / seconds:.3f}\n")
        print("\n".join(table("kernel", found.kernels, steps)))
    print("\n".join(["", *table("host, by its own time", found.host, steps)]))


def main() -> None:
    parser = choices.parser(__doc__ or "", turns=21)
    choices.arithmetic(parser)
    parser.add_argument("--steps", type=int, default=10, help="of a short turn, and profiled ones")
    parser.add_argument("--profile", action="store_true", help="where time goes, on a CPU, too")
    args, cases = choices.parsed(parser, CASES)
    torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available()
    print(machine())
    how = f"{choices.told(args)}; n = {args.turns} turns"
    print(f"{how}; images/s trained on, median (min - max)\n")
    print("| case | ours by | bare | ours | speed kept | by CPU time | last loss |")
    print("|---|---|---|---|---|---|---|")
    results: dict[str, Turns] = {}
    with own_home(args.random):
        try:
            for name, case in cases.items():
                plain = case.plain(args.precision)
                few = args.steps if case.short and not cuda else 0
                found = results[name] = compare(plain, args.turns, few)
                rates = ([found.images / x for x in side] for side in (found.bare, found.ours))
                cells = [name, found.driver, *(spread(rate, ".0f") for rate in rates)]
                cells += [spread(ratios, ".3f") for ratios in (found.wall, found.cpu)]
                print(f"| {' | '.join(cells)} | {'{:.3f}, {:.3f}'.format(*found.losses)} |")
            lowest = [
                min(statistics.median(ratios) for ratios in side)
                for side in zip(*((x.wall, x.cpu) for x in results.values()), strict=True)
            ]
            told = "{:.3f}, by CPU time {:.3f}".format(*lowest)
            print(f"\nlowest median: {told} (wanted: at least 0.95)")
            if cuda or args.profile:
                for name, case in cases.items():
                    show_profile(name, case.plain(args.precision), args.steps)
        except ConfigError as error:
            raise SystemExit(str(error)) from None
    if args.json:
        print(json.dumps({name: asdict(found) for name, found in results.items()}))


if __name__ == "__main__":
    main()
