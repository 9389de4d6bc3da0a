"""How much of a hand-written loop's speed a `Trial` keeps, reports included.

    python -m benchmarks.throughput              all cases, one thread, on the GPU when there is one
    python -m benchmarks.throughput --json       the last line machine-readable

Both train the same network on the same data, in turns within one process: the same number of
draws of the same kind (one permutation an epoch, one move per image and batch), the same moves,
scaling and normalisation, fused SGD on a cosine, training loss and accuracy summed on the device,
validation loss and accuracy after each epoch. The bare loop has what a person would write: labels
in place of soft targets, one generator in place of named streams, nothing kept, nothing reported.
Building model and data is timed on neither side and no checkpoint is taken.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from benchmarks.machine import machine, spread
from trainables.config import Config
from trainables.data.sources import SOURCES, Source
from trainables.loop import Loop
from trainables.trial import Trial

LR = 0.05
CASES: dict[str, dict[str, Any]] = {
    "digits cnn 32": {"data": "digits", "model": "cnn", "augment": False, "batch": 32},
    "digits cnn 32 augmented": {"data": "digits", "model": "cnn", "augment": True, "batch": 32},
    "random28 lenet 32": {"data": "random28", "model": "lenet", "augment": True, "batch": 32},
    "random28 lenet 128": {"data": "random28", "model": "lenet", "augment": True, "batch": 128},
}


def random28() -> Source:
    """6,000 random grey images of 28 x 28, ten classes."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (6000, 1, 28, 28), dtype=np.uint8)
    labels = draws.integers(0, 10, 6000)
    classes = tuple("0123456789")
    return Source(images, labels, images[:100], labels[:100], classes, shift=2)


# The bare loop: from here to the next line of dashes, at most 60 lines.
# --------------------------------------------------------------------------------------------------


def moved(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    count, channels, height, width = images.shape
    moves = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=images.device)
    rows = (moves[0] + torch.arange(height, device=images.device))[:, :, None]
    columns = (moves[1] + torch.arange(width, device=images.device))[:, None, :]
    where = (rows * (width + 2 * pixels) + columns).flatten(1)[:, None].expand(-1, channels, -1)
    return pad(images, (pixels,) * 4).flatten(2).gather(2, where).view_as(images)


def bare(model: torch.nn.Module, data: Loop, epochs: int, lr: float) -> float:
    """Train; gives the last validation loss."""
    own = data.data
    images, labels, mean, std = own.images, own.labels, own.mean, own.std
    val_images, val_labels = own.validation, own.validation_labels
    order = torch.Generator().manual_seed(1)
    moves = torch.Generator(images.device).manual_seed(2)
    sgd = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, fused=True)
    size, batch, step = len(labels), data.batch, 0
    steps = epochs * -(-size // batch)
    sums = torch.zeros(2, device=images.device)
    history: list[list[float]] = []
    for _ in range(epochs):
        model.train()
        sums.zero_()
        shuffled = torch.randperm(size, generator=order).to(images.device)
        for index in torch.split(shuffled, batch):
            x, y = images[index], labels[index]
            if data.shift:
                x = moved(x, data.shift, moves)
            for group in sgd.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            logits = model((x / 255 - mean) / std)
            loss = cross_entropy(logits, y)
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()
            with torch.no_grad():
                sums[0] += loss * len(y)
                sums[1] += (logits.argmax(1) == y).sum()
            step += 1
        model.eval()
        with torch.no_grad():
            logits = torch.cat(
                [model((part - mean) / std) for part in torch.split(val_images, 2048)]
            )
            loss = cross_entropy(logits, val_labels)
            hits = (logits.argmax(1) == val_labels).float().mean()
        history.append([*(sums / size).tolist(), loss.item(), hits.item()])
    return history[-1][2]


# --------------------------------------------------------------------------------------------------


@dataclass
class Turns:
    """What a case took, turn by turn.

    Attributes:
        bare, trial: seconds an epoch.
        wall, cpu: the trial's speed as a share of the bare loop's, by the clock and by the
            process's own processor time, which other programs disturb less.
        losses: the last validation loss of the bare loop and of the trial.
    """

    bare: list[float] = field(default_factory=list)
    trial: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: tuple[float, float] = (0.0, 0.0)


def timed(run: Callable[[], float]) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor that a call takes, and what it gives."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    loss = run()  # reads the loss, and so waits for the device
    return time.perf_counter() - clock, time.process_time() - processor, loss


def drive(trial: Trial) -> float:
    """Train a trial to its end through Tune's `train()`; gives its last validation loss."""
    while not (result := trial.train())["done"]:
        pass
    loss: float = result["val/loss"]
    return loss


def compare(case: dict[str, Any], turns: int, epochs: int) -> Turns:
    """Run a case in turns, the first one unmeasured; who goes first changes from turn to turn."""
    config = {key: case[key] for key in ("data", "model", "augment")}
    config |= {"epochs": epochs, "optim": {"lr": LR, "batch": case["batch"]}}
    found = Turns()
    for turn in range(turns + 1):
        trial = Trial(config)
        data = Loop(Config.parse(config), device=trial.loop.device)
        first = timed(partial(drive, trial)) if turn % 2 else None
        plain = timed(partial(bare, data.model, data, epochs, LR))
        ours = first or timed(partial(drive, trial))
        trial.stop()
        found.losses = plain[2], ours[2]
        if turn:
            found.bare.append(plain[0] / epochs)
            found.trial.append(ours[0] / epochs)
            found.wall.append(plain[0] / ours[0])
            found.cpu.append(plain[1] / ours[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=21, help="measured turns of each case")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    SOURCES["random28"] = random28
    torch.set_num_threads(1)
    print(machine())
    print(f"n = {args.turns} turns; median (min - max)\n")
    print("| case | bare, ms/epoch | Trial, ms/epoch | speed kept | by CPU time | val/loss |")
    print("|---|---|---|---|---|---|")
    results = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["NOISETUNE_HOME"] = home
        for name, case in CASES.items():
            found = compare(case, args.turns, epochs=6 if case["data"] == "digits" else 2)
            cells = [spread([1e3 * x for x in times], ".1f") for times in (found.bare, found.trial)]
            cells += [spread(ratios, ".3f") for ratios in (found.wall, found.cpu)]
            print(f"| {' | '.join([name, *cells, '{:.3f}, {:.3f}'.format(*found.losses)])} |")
            results[name] = found
    wall = min(statistics.median(found.wall) for found in results.values())
    cpu = min(statistics.median(found.cpu) for found in results.values())
    print(f"\nlowest median: {wall:.3f}, by CPU time {cpu:.3f} (wanted: at least 0.95)")
    if args.json:
        print(json.dumps({name: asdict(found) for name, found in results.items()}))


if __name__ == "__main__":
    main()
