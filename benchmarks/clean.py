"""What a method is worth on clean test labels, and which selection rule to trust.

    python -m benchmarks.clean worth     CE and MR, defaults and tuned at equal budget (15 minutes)
    python -m benchmarks.clean select    the regret of select: last | best | mean3 (15 minutes)
    python -m benchmarks.clean methods   every method tuned at equal budget (5 minutes a seed)

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
from tuning.space import Plan, load

NOISES = ("symmetric", "pairflip")
CHAINS = ("ce", "mr")


@dataclass(frozen=True)
class Run:
    """One trial's epochs: noisy validation accuracy, and hits on the clean test images."""

    validation: np.ndarray  # (E,)
    predicted: np.ndarray  # (E, T) classes

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """(E,) accuracy on the clean test labels."""
        return (self.predicted == labels).mean(1)


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


def settings(noise: str, seed: int, epochs: int) -> list[str]:
    """The `--set` values of one repetition."""
    made = [f"noise.kind={noise}", f"noise.seed={seed}", f"split.seed={seed}", f"epochs={epochs}"]
    return [part for value in made for part in ("--set", value)]


def space_of(chain: str, noise: str, seed: int, epochs: int) -> Plan:
    """The search space of one repetition."""
    values = settings(noise, seed, epochs)[1::2]
    return load(chain, task="digits", spaces=[], settings=values, seed=seed, study_flags={})


def study(
    args: argparse.Namespace, chains: Sequence[str], noise: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Search chains with equal budgets through the command; each one's best config."""
    trials = args.trials * len(chains)
    folder = args.out / "studies" / f"{'_'.join(chains)}-{noise}-{seed}-{trials}"
    command = [sys.executable, "-m", "tuning.search"]
    if not folder.exists():
        command += ["--method", ",".join(chains), "--trials", str(trials)]
        command += ["--seed", str(seed), "--storage", str(folder.parent), "--name", folder.name]
        command += settings(noise, seed, args.epochs)
    else:
        command += ["--resume", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    plan = Plan.from_plain(json.loads((folder / "manifest.json").read_text())["plan"])
    done = make_study(plan, lambda entry, flush: None)
    done.replay(journal.read(folder / "journal"))
    return {chain: done.ranking(chain)[0].config for chain in chains}


def worth(args: argparse.Namespace) -> None:
    """CE and MR x defaults and tuned x selection rules x noises, on clean labels."""
    cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for noise in NOISES:
        for seed in range(args.seeds):
            tuned = study(args, CHAINS, noise, seed)
            for chain in CHAINS:
                space = space_of(chain, noise, seed, args.epochs).chains[0]
                plain = space.config(space.sample)
                plain["methods"] = {name: {} for name in plain["methods"]}
                plain["optim"]["lr"] = Config().task.optim.lr
                cells.setdefault((noise, chain, "defaults"), []).append(plain)
                cells.setdefault((noise, chain, "tuned"), []).append(tuned[chain])
    configs = [config for group in cells.values() for config in group]
    runs = iter(train_all(args.out, configs, args.workers))
    grouped = {cell: [next(runs) for _ in group] for cell, group in cells.items()}
    labels = open_labels("digits", "benchmarks/clean.py worth")
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
    for noise in NOISES:
        for how in ("defaults", "tuned"):
            for rule in RULES:
                gain = 100 * (found[noise, "mr", how, rule] - found[noise, "ce", how, rule])
                wins = int((gain > 0).sum())
                told = f"{gain.mean():+.1f} +- {gain.std(ddof=1):.1f} ({wins}/{len(gain)})"
                print(f"- {noise}, {how}, {rule}: {told}")


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


def spread(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} +- {100 * values.std(ddof=1):.1f}"


def select(args: argparse.Namespace) -> None:
    """The regret of each rule over random-search studies, with FIFO and with ASHA."""
    studies = [
        (noise, chain, seed) for noise in NOISES for chain in CHAINS for seed in range(args.seeds)
    ]
    configs = []
    for noise, chain, seed in studies:
        space = space_of(chain, noise, seed, args.epochs).chains[0]
        random = Random(space.holes, chain=chain, seed=seed, mode="max", starts=space.starts)
        configs += [space.config(random.suggest(n, [])) for n in range(args.trials)]
    runs = iter(train_all(args.out, configs, args.workers))
    grouped = [[next(runs) for _ in range(args.trials)] for _ in studies]
    picks = {
        (rule, how): [pick(group, rule) for group in grouped]
        for rule in RULES
        for how, pick in (("fifo", fifo), ("asha", partial(asha, epochs=args.epochs)))
    }
    labels = open_labels("digits", "benchmarks/clean.py select")
    top = [max(run.clean(labels).max() for run in group) for group in grouped]
    print("regret in points: best trial and epoch on clean labels, minus what the rule picked\n")
    cells = [(noise, chain) for noise in NOISES for chain in CHAINS]
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


def methods(args: argparse.Namespace) -> None:
    """Every method tuned with as many trials, on symmetric noise."""
    chains = ("ce", *METHODS, "mr+mixup+reset")
    tuned = [study(args, chains, "symmetric", seed) for seed in range(args.seeds)]
    runs = iter(train_all(args.out, [best[chain] for chain in chains for best in tuned], 2))
    grouped = {chain: [next(runs) for _ in tuned] for chain in chains}
    labels = open_labels("digits", "benchmarks/clean.py methods")
    print("| chain | " + " | ".join(RULES) + " |")
    print("|---|---|---|---|")
    for chain, group in grouped.items():
        texts = []
        for rule in RULES:
            texts.append(spread(picked(group, rule, labels)))
        print(f"| {chain} | {' | '.join(texts)} |")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "worth": worth,
    "select": select,
    "methods": methods,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=24, help="per chain and study")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/clean"))
    args = parser.parse_args()
    args.out = args.out.absolute()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
