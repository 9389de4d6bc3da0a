"""How to split a CPU between trials: many of one thread, or one of many threads.

    python -m benchmarks.cores                             all cases, all ways to split the cores
    python -m benchmarks.cores --cases resnet18 --turns 5
    python -m benchmarks.cores --random                    where MNIST and CIFAR-10 are not

Each way has its trials in processes of their own, which wait while another way has its turn. A turn
is the same training for every trial; it ends when the last of them is done. Whole epochs end with
a validation; ResNet-18 trains a few steps without one.
"""

import json
import os
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks import choices
from benchmarks.homes import own_home
from benchmarks.machine import clock, machine, spread
from benchmarks.throughput import CASES, Case
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.errors import ConfigError
from trainables.loop import Loop

NAMES = ("digits cnn 32", "mnist lenet 128", "cifar10 resnet18 128")
LONG = 10**6  # epochs that no turn uses up


def splits(cores: int) -> list[tuple[int, int]]:
    """Ways to use all cores: trials and the threads of each.

    >>> splits(4)
    [(4, 1), (2, 2), (1, 4)]
    """
    return [(cores // each, each) for each in range(1, cores + 1) if cores % each == 0]


def work(line: Connection, plain: dict[str, Any], threads: int, few: int, epochs: int) -> None:
    """Train a turn at each True that comes in; answer with the images trained on."""
    torch.set_num_threads(threads)
    loop = Loop(Config.parse(plain), device="cpu")
    steps = few or epochs * loop.steps_per_epoch
    images = few * loop.batch or epochs * loop.size
    line.send(0)
    while line.recv():
        for _ in range(steps):
            loop.advance()
        line.send(images)


def turn_of(lines: list[Connection]) -> float:
    """Images a second of trials that train a turn at once."""
    began = clock()
    for line in lines:
        line.send(True)
    images: int = sum(line.recv() for line in lines)
    return images / (clock() - began)


def compare(case: Case, ways: list[tuple[int, int]], turns: int, few: int) -> list[list[float]]:
    """Images a second of each way, turn by turn; the first turn is not measured.

    Raises:
        EOFError: a trial failed; its process has told why.
    """
    plain = {**case.plain("fp32"), "epochs": LONG}
    prepare(Config.parse(plain).task)  # once, not in each process
    rates: list[list[float]] = [[] for _ in ways]
    spawn = get_context("spawn")
    with ExitStack() as stack:
        groups: list[list[Connection]] = []
        for trials, threads in ways:
            lines = []
            for _ in range(trials):
                line, end = spawn.Pipe()
                settings = (end, plain, threads, few, case.epochs)
                process = spawn.Process(target=work, args=settings, daemon=True)
                process.start()
                end.close()
                stack.callback(process.join)
                stack.callback(line.close)  # ends the process, which reads from it
                lines.append(line)
            groups.append(lines)
        for lines in groups:
            for line in lines:
                line.recv()
        for turn in range(turns + 1):
            order = list(enumerate(groups))
            for at, lines in order[:: -1 if turn % 2 else 1]:
                rate = turn_of(lines)
                if turn:
                    rates[at].append(rate)
        for lines in groups:
            for line in lines:
                line.send(False)
    return rates


def main() -> None:
    parser = choices.parser(__doc__ or "", turns=7)
    parser.add_argument("--steps", type=int, default=10, help="of a turn of ResNet-18")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="to be split")
    args, cases = choices.parsed(parser, {name: CASES[name] for name in NAMES})
    ways = splits(args.cores)
    heads = [f"{trials} trials x {threads} threads" for trials, threads in ways]
    print(machine())
    print(f"n = {args.turns} turns; images/s of all trials together, median (min - max)\n")
    print(f"| case | {' | '.join(heads)} | first / last |")
    print("|" + "---|" * (len(ways) + 2))
    results = {}
    with own_home(args.random):
        try:
            for name, case in cases.items():
                few = args.steps if case.short else 0
                rates = compare(case, ways, args.turns, few)
                ratios = [first / last for first, last in zip(rates[0], rates[-1], strict=True)]
                cells = [spread(rate, ".0f") for rate in rates] + [spread(ratios, ".2f")]
                print(f"| {name} | {' | '.join(cells)} |", flush=True)
                results[name] = dict(zip(heads, rates, strict=True))
        except ConfigError as error:
            raise SystemExit(str(error)) from None
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
