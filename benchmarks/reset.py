"""What stochastic resetting costs beside plain training: validations, kept states, saves.

    python -m benchmarks.reset

Trains digits plainly and with `reset` at r = 0 (so that both train the same steps), in turns, one
thread. Extra validations are what is left of the difference after the kept states, which are timed
apart; saves are Tune's own, of a Trial driven as Tune drives it.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch

from benchmarks.machine import machine, spread
from trainables.config import Config
from trainables.loop import Loop
from trainables.trial import Trial


def plain(epochs: int) -> tuple[float, int]:
    """Seconds and steps of plain training."""
    loop = Loop(Config.parse({"epochs": epochs}))
    return run(loop), loop.steps


def resetting(epochs: int, every: float) -> tuple[float, float, int]:
    """Seconds with reset less those of its kept states, the latter, and how many there were."""
    loop = Loop(Config.parse({"epochs": epochs, "methods": {"reset": {"r": 0.0, "every": every}}}))
    taken: list[float] = []
    target = loop.target

    def timed(state: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        kept = target(loop.state_dict())
        taken.append(time.perf_counter() - began)
        return kept

    loop.target = timed  # type: ignore[method-assign]
    seconds = run(loop)
    # each kept state was copied twice here, once in the loop and once under the clock
    return seconds - 2 * sum(taken), sum(taken), len(taken)


def run(loop: Loop) -> float:
    began = time.perf_counter()
    while not loop.ended:
        loop.train()
    return time.perf_counter() - began


def saves(epochs: int) -> tuple[float, int]:
    """Seconds that Tune's save takes at each kept state of one trial, and how many there were."""
    trial = Trial({"epochs": epochs, "methods": {"reset": {"r": 0.0}}})
    spent, count = 0.0, 0
    report = {"done": False}
    while not report["done"]:
        report = trial.train()
        if report["should_checkpoint"]:
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                trial.save_checkpoint(folder)
                spent += time.perf_counter() - began
                count += 1
    return spent, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    plain(2)
    for every in (1.0, 0.5, 0.25):
        ratios, kept, counts = [], [], []
        for _ in range(args.turns):
            base, _ = plain(args.epochs)
            seconds, copies, count = resetting(args.epochs, every)
            ratios.append(seconds / base)
            kept.append(copies / base)
            counts.append(count)
        print(
            f"every {every}: {spread(ratios, '.3f')} of plain training, n={args.turns}; "
            f"kept states apart: {spread(kept, '.3f')} for {statistics.median(counts):.0f} of them"
        )
    spent, count = saves(args.epochs)
    each = 1000 * spent / count
    print(f"checkpoints to disk: {each:.1f} ms each, {count} in {args.epochs} epochs")


if __name__ == "__main__":
    main()
