"""What a method is worth on clean test labels, and which selection rule to trust.

    python -m benchmarks.clean worth     CE and MR, defaults and tuned at equal budget (15 minutes)
    python -m benchmarks.clean select    the regret of select: last | best | mean3 (15 minutes)
    python -m benchmarks.clean methods   every method tuned at equal budget (5 minutes a seed)

The times are for digits on two cores. Another task, where the untuned trials have a learning rate
of their own (here the one of MR's authors):

    python -m benchmarks.clean worth --task mnist --seeds 3 --trials 8 --lr 0.1

Seed s sets noise, split, initialisation, batches and search alike, so that methods are paired on s.
Every trial records its predictions on the test images; the seal is opened after all choices are
made.
What is trained is kept under --out and not trained again. The tables go to standard output, in
Markdown. Two processes, one thread each.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.config import Config
from trainables.data.dataset import probe_images
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.select import RULES, Selection
from tuning import journal
from tuning.schedulers import ASHA
from tuning.sealed import open_labels
from tuning.search import make_study
from tuning.searchers import Random
from tuning.space import ChainSpace, Plan, load

NOISES = ("symmetric", "pairflip")
CHAINS = ("ce", "mr")


@dataclass(frozen=True)
class Run:
    """One trial's epochs: noisy validation accuracy, and hits on the clean test images."""

    validation: np.ndarray  # (E,)
    predicted: np.ndarray  # (E, T) classes

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """(E,) accuracy on the clean test labels."""
        hits: np.ndarray = self.predicted == labels
        accuracy: np.ndarray = hits.mean(1)
        return accuracy


def chosen_epochs(validation: Sequence[float], rule: str) -> list[tuple[float, int]]:
    """After each epoch, the score so far under a rule and the epoch whose weights count."""
    selection, epoch, found = Selection(rule, "max"), 0, []
    for number, value in enumerate(validation):
        if selection.offer(value):
            epoch = number
        assert selection.score is not None
        found.append((selection.score, epoch))
    return found


def train(out: Path, plain: dict[str, Any]) -> Run:
    """Train a config with its probe, or read what an earlier call trained."""
    key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:24]
    path = out / "runs" / f"{key}.npz"
    if not path.exists():
        torch.set_num_threads(1)
        config = Config.parse(plain)
        loop = Loop(config, probe=probe_images(config.task.data), device="cpu")
        validation = []
        while not loop.ended:
            report = loop.train()
            if report["scored"]:
                validation.append(report["val/acc"])
        missing = config.task.epochs - len(loop.probed)  # of a diverged trial
        predicted = [logits.float().argmax(1).to(torch.uint8).numpy() for logits in loop.probed]
        predicted += [np.full(len(probe_images(config.task.data)), 255, np.uint8)] * missing
        validation = validation[: config.task.epochs - missing] + [0.0] * missing
        draft = path.with_name(f".{path.name}")
        with draft.open("wb") as file:
            np.savez(file, validation=np.array(validation), predicted=np.stack(predicted))
        draft.replace(path)
    with np.load(path) as saved:
        return Run(saved["validation"], saved["predicted"])


def train_all(out: Path, configs: Iterable[dict[str, Any]], workers: int) -> list[Run]:
    """Train many configs, a few at a time, in order."""
    (out / "runs").mkdir(parents=True, exist_ok=True)
    runs = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for run in pool.map(partial(train, out), configs):
            runs.append(run)
            if len(runs) % 50 == 0:
                print(f"{len(runs)} trials trained", file=sys.stderr)
    return runs


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
    """Search chains with equal budgets through the command; each one's best config."""
    trials = args.trials * len(chains)
    values = settings(args, noise, seed)
    # an interrupted call goes on; a call with other settings has a folder of its own
    told = json.dumps([args.task, list(chains), trials, seed, values])
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    name = f"{Path(args.task).stem}-{'_'.join(chains)}-{noise}-{seed}-{digest}"
    folder = args.out / "studies" / name
    command = [sys.executable, "-m", "tuning.search"]
    if not folder.exists():
        command += ["--method", ",".join(chains), "--task", args.task, "--trials", str(trials)]
        command += ["--seed", str(seed), "--storage", str(folder.parent), "--name", folder.name]
        command += [part for value in values for part in ("--set", value)]
    else:
        command += ["--resume", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    plan = Plan.from_plain(json.loads((folder / "manifest.json").read_text())["plan"])
    done = make_study(plan, lambda entry, flush: None)
    done.replay(journal.read(folder / "journal"))
    return {chain: done.ranking(chain)[0].config for chain in chains}


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


def picked(group: Sequence[Run], rule: str, labels: np.ndarray) -> np.ndarray:
    """Clean accuracy of each run at the epoch that a rule picks."""
    at = [chosen_epochs(run.validation.tolist(), rule)[-1][1] for run in group]
    return np.array([run.clean(labels)[epoch] for run, epoch in zip(group, at, strict=True)])


def knobs(configs: Sequence[dict[str, Any]]) -> str:
    """Learning rates and etas that were trained with, one per seed."""
    rates = "/".join(f"{config['optim']['lr']:.2g}" for config in configs)
    etas = [config["methods"].get("mr", {}).get("eta") for config in configs]
    shown = "/".join(f"{eta:.2g}" for eta in etas if eta is not None)
    return f"{rates}; {shown}" if shown else rates


def spread(values: np.ndarray, sign: str = "") -> str:
    """Mean +- sd in points; a single value has no sd."""
    told = f"{100 * values.mean():{sign}.1f}"
    return f"{told} +- {100 * values.std(ddof=1):.1f}" if len(values) > 1 else told


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
        random = Random(space.holes, chain=chain, seed=seed, mode="max", starts=space.starts)
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


def methods(args: Namespace) -> None:
    """Every method tuned with as many trials, on the first noise asked for."""
    chains = ("ce", *METHODS, "mr+mixup+reset")
    tuned = [study(args, chains, args.noise[0], seed) for seed in range(args.seeds)]
    configs = [best[chain] for chain in chains for best in tuned]
    runs = iter(train_all(args.out, configs, args.workers))
    grouped = {chain: [next(runs) for _ in tuned] for chain in chains}
    labels = labels_of(configs[0], "methods")
    print("| chain | " + " | ".join(RULES) + " |")
    print("|---|---|---|---|")
    for chain, group in grouped.items():
        texts = []
        for rule in RULES:
            texts.append(spread(picked(group, rule, labels)))
        print(f"| {chain} | {' | '.join(texts)} |")


PARTS: dict[str, Callable[[Namespace], None]] = {
    "worth": worth,
    "select": select,
    "methods": methods,
}


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
