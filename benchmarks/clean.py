"""What a method is worth on clean test labels, and which selection rule to trust.

    python -m benchmarks.clean worth     CE and MR, defaults and tuned at equal budget (15 minutes)
    python -m benchmarks.clean select    the regret of select: last | best | mean3 (15 minutes)

The times are for digits on two cores. Another task, where the untuned trials have a learning rate
of their own (here the one of MR's authors):

    python -m benchmarks.clean worth --task mnist --seeds 3 --trials 8 --lr 0.1

Seed s sets noise, split, initialisation, batches and search alike, so that methods are paired on s.
What is trained is kept under --out and not trained again. The tables go to standard output, in
Markdown. Two processes, one thread each. `benchmarks.leaderboard` compares all methods.
"""

import argparse
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trained import Run, chosen_epochs, picked, search, spread, train_all
from trainables.config import Config
from trainables.select import RULES
from tuning.schedulers import ASHA
from tuning.sealed import open_labels
from tuning.searchers import Problem, Random
from tuning.space import ChainSpace, Plan, load

NOISES = ("symmetric", "pairflip")
CHAINS = ("ce", "mr")


def settings(args: Namespace, noise: str, seed: int) -> list[str]:
    """What one repetition sets, in the words of `--set`."""
    made = [f"noise.kind={noise}", f"noise.seed={seed}", f"split.seed={seed}"]
    made += [f"epochs={args.epochs}"] if args.epochs else []
    return [*made, *args.set]


def space_of(args: Namespace, chain: str, noise: str, seed: int) -> Plan:
    """The search space of one repetition."""
    values = settings(args, noise, seed)
    return load(chain, task=args.task, spaces=[], settings=values, seed=seed, study_flags={})


def kind_of(task: str) -> str:
    """The kind of a task's own noise."""
    plan = load("ce", task=task, spaces=[], settings=[], seed=0, study_flags={})
    return plan.example.task.noise.kind


def study(
    args: Namespace, chains: Sequence[str], noise: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Search chains with equal budgets; each one's best config."""
    values = settings(args, noise, seed)
    best = search(
        args.out, chains, args.task, values, trials=args.trials, seed=seed, workers=args.workers
    )
    return {chain: best[chain].config for chain in chains}


def untuned(space: ChainSpace, lr: float | None) -> dict[str, Any]:
    """The methods' defaults, which are their authors' values, at a learning rate.

    Args:
        space: what a search would fill.
        lr: the learning rate; the task's own for None, if it is fixed there.
    """
    plain = space.config(space.sample)
    plain["methods"] = {name: {} for name in plain["methods"]}
    is_open = any(hole.column == "optim/lr" for hole in space.holes)
    if lr or is_open:
        plain["optim"]["lr"] = lr or Config().task.optim.lr
    return plain


def worth(args: Namespace) -> None:
    """CE and MR x defaults and tuned x selection rules x noises, on clean labels."""
    cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for noise in args.noise:
        for seed in range(args.seeds):
            tuned = study(args, CHAINS, noise, seed)
            for chain in CHAINS:
                plain = untuned(space_of(args, chain, noise, seed).chains[0], args.lr)
                cells.setdefault((noise, chain, "defaults"), []).append(plain)
                cells.setdefault((noise, chain, "tuned"), []).append(tuned[chain])
    configs = [config for group in cells.values() for config in group]
    runs = iter(train_all(args.out, configs, args.workers))
    grouped = {cell: [next(runs) for _ in group] for cell, group in cells.items()}
    labels = labels_of(configs[0], "worth")
    print("| noise | method | settings | last epoch | " + " | ".join(RULES[1:]) + " | lr, eta |")
    print("|---|---|---|---|---|---|---|")
    found: dict[tuple[str, str, str, str], np.ndarray] = {}
    for cell, group in grouped.items():
        texts = []
        for rule in RULES:
            found[(*cell, rule)] = picked(group, rule, labels)
            texts.append(spread(found[(*cell, rule)]))
        print(f"| {' | '.join(cell)} | {' | '.join(texts)} | {knobs(cells[cell])} |")
    print("\npaired differences MR - CE, in points, mean +- sd over seeds (seeds MR wins):\n")
    for noise in args.noise:
        for how in ("defaults", "tuned"):
            for rule in RULES:
                gain = found[noise, "mr", how, rule] - found[noise, "ce", how, rule]
                wins = int((gain > 0).sum())
                print(f"- {noise}, {how}, {rule}: {spread(gain, '+')} ({wins}/{len(gain)})")


def labels_of(plain: dict[str, Any], part: str) -> np.ndarray:
    """The clean test labels of a config's data set; to be asked for after the last choice."""
    return open_labels(Config.parse(plain).task.data, f"benchmarks/clean.py {part}")


def knobs(configs: Sequence[dict[str, Any]]) -> str:
    """Learning rates and etas that were trained with, one per seed."""
    rates = "/".join(f"{config['optim']['lr']:.2g}" for config in configs)
    etas = [config["methods"].get("mr", {}).get("eta") for config in configs]
    shown = "/".join(f"{eta:.2g}" for eta in etas if eta is not None)
    return f"{rates}; {shown}" if shown else rates


def select(args: Namespace) -> None:
    """The regret of each rule over random-search studies, with FIFO and with ASHA."""
    studies = [
        (noise, chain, seed)
        for noise in args.noise
        for chain in CHAINS
        for seed in range(args.seeds)
    ]
    configs = []
    for noise, chain, seed in studies:
        space = space_of(args, chain, noise, seed).chains[0]
        random = Random(Problem(space.holes, chain, space.starts, seed=seed))
        configs += [space.config(random.suggest(n, [])) for n in range(args.trials)]
    runs = iter(train_all(args.out, configs, args.workers))
    grouped = [[next(runs) for _ in range(args.trials)] for _ in studies]
    epochs = Config.parse(configs[0]).task.epochs
    picks = {
        (rule, how): [pick(group, rule) for group in grouped]
        for rule in RULES
        for how, pick in (("fifo", fifo), ("asha", partial(asha, epochs=epochs)))
    }
    labels = labels_of(configs[0], "select")
    top = [max(run.clean(labels).max() for run in group) for group in grouped]
    print("regret in points: best trial and epoch on clean labels, minus what the rule picked\n")
    cells = [(noise, chain) for noise in args.noise for chain in CHAINS]
    heads = [f"{noise} {chain}" for noise, chain in cells]
    print(f"| select | scheduler | {' | '.join(heads)} | worst cell | worst study |")
    print("|" + "---|" * (len(cells) + 4))
    for (rule, how), chosen in picks.items():
        regret = np.array(
            [
                100 * (best - group[trial].clean(labels)[epoch])
                for best, group, (trial, epoch) in zip(top, grouped, chosen, strict=True)
            ]
        )
        means = [regret[[at[:2] == cell for at in studies]].mean() for cell in cells]
        row = " | ".join(f"{value:.1f}" for value in [*means, max(means), regret.max()])
        print(f"| {rule} | {how} | {row} |")


def fifo(group: Sequence[Run], rule: str) -> tuple[int, int]:
    """The trial and epoch a rule picks from whole curves."""
    scores = [chosen_epochs(run.validation.tolist(), rule)[-1] for run in group]
    trial = max(range(len(scores)), key=lambda at: scores[at][0])
    return trial, scores[trial][1]


def asha(group: Sequence[Run], rule: str, epochs: int) -> tuple[int, int]:
    """The same after ASHA has seen the curves, two trials at a time as on two cores."""
    asked = ASHA(epochs, mode="max", grace=0.2, factor=3)
    curves = [chosen_epochs(run.validation.tolist(), rule) for run in group]
    ended: dict[int, tuple[float, int]] = {}
    running: list[list[int]] = []
    waiting = list(range(len(group)))
    while waiting or running:
        while waiting and len(running) < 2:
            running.append([waiting.pop(0), 0])
        for slot in list(running):
            trial, epoch = slot
            score = curves[trial][epoch][0]
            stop = asked.decide(str(trial), float(epoch + 1), score) == "STOP"
            slot[1] += 1
            if stop or slot[1] == epochs:
                running.remove(slot)
                if slot[1] == epochs or rule == "best":
                    ended[trial] = curves[trial][epoch]
    trial = max(ended, key=lambda at: ended[at][0])
    return trial, ended[trial][1]


PARTS: dict[str, Callable[[Namespace], None]] = {"worth": worth, "select": select}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--task", default="digits", help="a task's name")
    parser.add_argument("--noise", nargs="+", help="kinds (the task's; of digits, pairflip too)")
    parser.add_argument("--lr", type=float, help="of the untuned trials (the task's, else 0.05)")
    parser.add_argument("--set", action="append", default=[], help="as of tuning.search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=24, help="per chain and study")
    parser.add_argument("--epochs", type=int, help="of a trial (the task's)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/clean"))
    args = parser.parse_args()
    args.out = args.out.absolute()
    args.noise = args.noise or list(NOISES if args.task == "digits" else [kind_of(args.task)])
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
