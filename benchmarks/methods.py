"""What a step of each method costs beside plain cross-entropy.

    python -m benchmarks.methods                                  all networks, one thread
    python -m benchmarks.methods --cases lenet --methods mr,sop --turns 9
    python -m benchmarks.methods --random                         where MNIST and CIFAR-10 are not

Each method trains alone, in pairs with plain training: a turn is whole epochs of the one and then
of the other, by Loop.advance in one process; who goes first changes from turn to turn, and a first
turn is not measured. Epochs are of a part of the data, since all that a method adds to an epoch,
such as Multiplicative Reweighting's pass over the training rows, grows with its rows as steps do.
ResNet-18 on a CPU has epochs of one step: the ratio then is of a step of 126 rows, and of a pass
over 126 rows where there is one.

Validations are timed apart, on both sides. Resetting adds one an epoch at the shipped cadence
(every 0.5 epochs): its share of a plain epoch is told, measured where an epoch has several steps
and otherwise that of a plain epoch's own validation. Resetting is active from its first validation
on. What misses its target, by processor time on a CPU and by the clock on a GPU, is profiled.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import choices
from benchmarks.homes import own_home
from benchmarks.kernels import profiled, table
from benchmarks.machine import machine, spread
from benchmarks.pairs import Side, Turns, compare
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.errors import ConfigError
from trainables.methods import METHODS

PLAIN = "ce"
EPOCHS = 10_000  # of the schedule, which no turn comes to the end of
VALIDATIONS = 0.15  # of an epoch: the target of resetting's, apart from its steps
# the most that a step may cost of a plain one, on LeNet and on ResNet-18
TARGETS: dict[str, tuple[float, float]] = {
    "mr": (1.30, 1.45),
    "sop": (1.10, 1.10),
    "aux": (1.10, 1.10),
    "rdi": (1.10, 1.10),
    "cdr": (1.25, 1.25),
    "reset": (1.05, 1.05),
}
NETWORKS = ("lenet", "resnet18")


@dataclass(frozen=True)
class Case:
    """A network on a part of a data set.

    Attributes:
        config: the trial, but for methods.
        epochs: of a turn.
        few: images of each class on a CPU, where not those of the config.
    """

    config: dict[str, Any]
    epochs: int = 1
    few: int | None = None

    def plain(self, methods: dict[str, Any], precision: str, cuda: bool) -> dict[str, Any]:
        few = {} if cuda or self.few is None else {"per_class": self.few}
        rest = {"precision": precision, "epochs": EPOCHS, "methods": methods}
        return {**self.config, **few, **rest}


def _case(data: str, model: str, batch: int, per_class: int | None, **rest: Any) -> Case:
    own = {"augment": True} if model == "resnet18" else {}
    split = {"validation": 0.25 if data == "digits" else 0.1}
    optim = {"lr": 0.01, "batch": batch}
    plain = {"data": data, "model": model, "per_class": per_class, "split": split, "optim": optim}
    return Case({**plain, **own}, **rest)


CASES = {
    "digits cnn 32": _case("digits", "cnn", 32, None, epochs=3),
    "mnist lenet 32": _case("mnist", "lenet", 32, 200, epochs=3),
    "mnist lenet 128": _case("mnist", "lenet", 128, 600, epochs=2),
    "cifar10 resnet18 128": _case("cifar10", "resnet18", 128, 500, few=14),
}


def target(method: str, case: str) -> float | None:
    """The most that the method may cost there, as a ratio.

    >>> target("mr", "mnist lenet 32"), target("mr", "digits cnn 32")
    (1.3, None)
    """
    limits = zip(NETWORKS, TARGETS.get(method, ()), strict=False)  # none for other methods
    return next((limit for network, limit in limits if network in case), None)


def live(method: str, steps: int) -> dict[str, Any]:
    """Settings with which a method is at work from the start; most are by default."""
    # a patience of one step: resetting begins at the first validation; r is the space's for digits
    return {"r": 0.05, "patience": 1 / steps} if method == "reset" else {}


def show_profile(name: str, side: Side, epochs: int) -> None:
    """Print where a side's epochs spend their time."""
    steps = epochs * side.loop.steps_per_epoch
    found = profiled(partial(side.train, epochs))
    print(f"\n{name}, {steps} steps and what ends their epochs, profiled:\n")
    if found.kernels:
        print("\n".join([*table("kernel", found.kernels, steps), ""]))
    print("\n".join([*table("host, by its own time", found.host, steps), ""]))


def show_case(name: str, case: Case, chosen: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print one table, then the profiles of what missed its target."""
    cuda = torch.cuda.is_available()
    trial = partial(case.plain, precision=args.precision, cuda=cuda)
    data = prepare(Config.parse(trial({})).task)
    plain = Side(trial({}), data)
    rows, steps = plain.loop.size, plain.loop.steps_per_epoch
    results: dict[str, Turns] = {}
    print(f"\n{name}: {rows} rows, {steps} steps an epoch, {case.epochs} epochs a turn\n")
    print("| method | step / ce | by CPU time | target | |\n|---|---|---|---|---|")
    missed: list[str] = []
    for method in chosen:
        ours = Side(trial({method: live(method, plain.loop.steps)}), data)
        found = results[method] = compare(ours, plain, args.turns, case.epochs)
        limit, ratios = target(method, name), found.wall if cuda else found.cpu
        late = limit is not None and statistics.median(ratios) > limit
        missed += [method] * late
        cells = [method, spread(found.wall, ".3f"), spread(found.cpu, ".3f")]
        cells += ["" if limit is None else f"{limit:.2f}", "missed" if late else ""]
        print(f"| {' | '.join(cells)} |", flush=True)
        ours.loop.close()
    every = [1e3 * seconds for found in results.values() for seconds in found.step]
    print(f"\na plain step: {spread(every, '.2f')} ms")
    if "reset" in results:
        more = results["reset"].validations if steps > 1 else results["reset"].own
        how = "measured" if steps > 1 else "of a plain epoch's own"
        print(
            f"resetting's validations: {spread([100 * share for share in more], '.1f')} % of a "
            f"plain epoch, {how} (target: {100 * VALIDATIONS:.0f} %)"
        )
    told = chosen if args.profile else missed
    for method in [PLAIN, *told] if told else ():
        methods = {} if method == PLAIN else {method: live(method, plain.loop.steps)}
        side = Side(trial(methods), data)
        side.train(case.epochs)
        show_profile(f"{name}, {method}", side, case.epochs)
        side.loop.close()
    plain.loop.close()
    return {method: asdict(found) for method, found in results.items()}


def main() -> None:
    parser = choices.parser(__doc__ or "", turns=7, of="method")
    choices.arithmetic(parser)
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--profile", action="store_true", help="profile all, not only misses")
    args, cases = choices.parsed(parser, CASES)
    torch.set_num_threads(args.threads)
    chosen = args.methods.split(",")
    print(machine())
    print(f"{choices.told(args)}; n = {args.turns} turns; median (min - max)")
    results: dict[str, Any] = {}
    with own_home(args.random):
        try:
            for name, case in cases.items():
                results[name] = show_case(name, case, chosen, args)
        except ConfigError as error:
            raise SystemExit(str(error)) from None
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
