"""Searches and trainings that a benchmark keeps, and what their epochs were worth on clean labels.

Every training records its predictions on the test images; the seal is opened after all choices are
made. What is searched or trained is kept in a folder and not done again. One thread a process.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
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
from trainables.select import Selection
from tuning import journal
from tuning.making import make_study
from tuning.space import Plan
from tuning.study import ENDED, Record, Study

NO_CLASS = 255  # what a diverged trial predicts in the epochs it did not reach


@dataclass(frozen=True)
class Run:
    """One trial's epochs: noisy validation accuracy, and its predictions on the test images."""

    validation: np.ndarray  # (E,)
    predicted: np.ndarray  # (E, T) classes

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """(E,) accuracy on the clean test labels."""
        hits: np.ndarray = self.predicted == labels
        accuracy: np.ndarray = hits.mean(1)
        return accuracy


def chosen_epochs(validation: Sequence[float], rule: str) -> list[tuple[float, int]]:
    """After each epoch, the score so far under a rule and the epoch whose weights count.

    >>> chosen_epochs([0.2, 0.8, 0.6], "best")
    [(0.2, 0), (0.8, 1), (0.8, 1)]
    """
    selection, epoch, found = Selection(rule, "max"), 0, []
    for number, value in enumerate(validation):
        if selection.offer(value):
            epoch = number
        assert selection.score is not None
        found.append((selection.score, epoch))
    return found


def picked(group: Sequence[Run], rule: str, labels: np.ndarray) -> np.ndarray:
    """Clean accuracy of each run at the epoch that a rule picks."""
    at = [chosen_epochs(run.validation.tolist(), rule)[-1][1] for run in group]
    return np.array([run.clean(labels)[epoch] for run, epoch in zip(group, at, strict=True)])


def regret(group: Sequence[Run], rule: str, labels: np.ndarray) -> np.ndarray:
    """Of each run: clean accuracy of its best epoch, minus that of the epoch that a rule picks."""
    top = np.array([run.clean(labels).max() for run in group])
    below: np.ndarray = top - picked(group, rule, labels)
    return below


def spread(values: np.ndarray, sign: str = "") -> str:
    """Mean +- sd in points; a single value has no sd.

    >>> spread(np.array([0.93, 0.95])), spread(np.array([0.01]), "+")
    ('94.0 +- 1.4', '+1.0')
    """
    told = f"{100 * values.mean():{sign}.1f}"
    return f"{told} +- {100 * values.std(ddof=1):.1f}" if len(values) > 1 else told


def train(out: Path, plain: dict[str, Any]) -> Run:
    """Train a config with its probe, or read what an earlier call trained."""
    path = out / "runs" / f"{digest(plain, 24)}.npz"
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
        unknown = np.full(len(probe_images(config.task.data)), NO_CLASS, np.uint8)
        predicted += [unknown] * missing
        validation = validation[: config.task.epochs - missing] + [0.0] * missing
        draft = path.with_name(f".{os.getpid()}-{path.name}")  # two may train the same config
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


def search(
    out: Path,
    chains: Sequence[str],
    task: str,
    settings: Sequence[str],
    *,
    trials: int,
    seed: int,
    workers: int,
) -> dict[str, Record]:
    """Search chains with equal budgets through the command.

    An interrupted call goes on; a call with other settings has a folder of its own.

    Args:
        out: where the study is kept.
        task: as of `--task`.
        settings: as of `--set`.
        trials: per chain.
        seed: of the search and of its trials.
        workers: trials at a time.

    Returns:
        The best trial of each chain that has one that can win.
    """
    key = digest([task, list(chains), trials, seed, list(settings)], 8)
    folder = out / "studies" / f"{Path(task).stem}-{seed}-{key}"
    command = [sys.executable, "-m", "tuning.search", "--concurrency", str(workers)]
    if not folder.exists():
        command += ["--method", ",".join(chains), "--task", task, "--seed", str(seed)]
        command += ["--trials", str(trials * len(chains)), "--storage", str(folder.parent)]
        command += ["--name", folder.name]
        command += [part for value in settings for part in ("--set", value)]
    else:
        command += ["--resume", str(folder)]
    found = _study(folder) if folder.exists() else None
    if found is None or found.count(*ENDED) < found.trials:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = _study(folder)
    ranked = {chain: found.ranking(chain) for chain in found.chains}
    return {chain: ranking[0] for chain, ranking in ranked.items() if ranking}


def digest(value: Any, letters: int) -> str:
    """A name for plain data, the same for the same data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:letters]


def _study(folder: Path) -> Study:
    """A study as its journal tells it."""
    plan = Plan.from_plain(json.loads((folder / "manifest.json").read_text())["plan"])
    study = make_study(plan, lambda entry, flush: None)
    study.replay(journal.read(folder / "journal"))
    return study
