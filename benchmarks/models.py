"""Time and GPU memory of every network on images of CIFAR-10's shape, batch 128.

    python -m benchmarks.models                            on a GPU; on a CPU, extrapolated
    python -m benchmarks.models --precision bf16 --compile
    python -m benchmarks.models --models lenet vit --seconds 5

Images are random: no file is needed. After some unmeasured steps, steps are measured until the
epoch or --seconds are over, at least one; an epoch of 352 steps is told from these. On a GPU its
validation of 5,000 images is measured and counted. On a CPU it is left out, and a network whose
first step takes longer than --seconds is told by that step alone.
"""

import argparse
import json
import os
from dataclasses import asdict, dataclass

import torch

from benchmarks.homes import own_home
from benchmarks.machine import clock, machine
from trainables.config import Config
from trainables.data.dataset import Dataset, prepare
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.models import MODELS


@dataclass(frozen=True)
class Figures:
    """Of one network.

    Attributes:
        parameters: numbers that are trained.
        step: seconds.
        steps: how many were measured.
        validation: seconds; 0 on a CPU, where it is left out.
        epoch: seconds.
        allocated, reserved: MB of the GPU at most; 0 on a CPU.
    """

    parameters: int
    step: float
    steps: int
    validation: float
    epoch: float
    allocated: float
    reserved: float


def figures(config: Config, data: Dataset, seconds: float) -> Figures:
    """Measure a network.

    Raises:
        ConfigError: it cannot be had.
        torch.OutOfMemoryError: it needs more than this GPU has.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    loop = Loop(config, data)
    try:
        warm, chunk = (20, 10) if cuda else (1, 1)  # a GPU is not to wait after each step
        elapsed = steps_of(loop, warm)
        steps = 0
        if cuda or elapsed < seconds:
            elapsed = 0.0
            while elapsed < seconds and warm + steps + chunk < loop.steps_per_epoch:
                elapsed += steps_of(loop, chunk)
                steps += chunk
        step = elapsed / max(1, steps)
        began = clock()
        if cuda:
            loop.validate()
        validation = clock() - began if cuda else 0.0
        return Figures(
            parameters=sum(parameter.numel() for parameter in loop.parameters),
            step=step,
            steps=steps,
            validation=validation,
            epoch=step * loop.steps_per_epoch + validation,
            allocated=torch.cuda.max_memory_allocated() / 1e6 if cuda else 0.0,
            reserved=torch.cuda.max_memory_reserved() / 1e6 if cuda else 0.0,
        )
    finally:
        loop.close()


def steps_of(loop: Loop, count: int) -> float:
    """Seconds of so many steps."""
    began = clock()
    for _ in range(count):
        loop.advance()
    return clock() - began


def row(name: str, found: Figures) -> str:
    """One network's line of the table."""
    steps = str(found.steps) if found.steps else "1, unwarmed"
    cells = [name, f"{found.parameters:,}", f"{1e3 * found.step:.1f}", steps, f"{found.epoch:.1f}"]
    if found.allocated:
        cells += [f"{found.validation:.1f}", f"{found.allocated:.0f}", f"{found.reserved:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="of measured steps per network")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="its warm-up is not measured")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of a CPU")
    parser.add_argument("--json", action="store_true", help="make the last line machine-readable")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available()
    print(machine())
    where = "GPU" if cuda else f"CPU, threads: {args.threads}; epochs without validation"
    print(f"batch {args.batch}, {args.precision}{', compiled' if args.compile else ''}, {where}\n")
    heads = ["model", "parameters", "ms/step", "steps measured", "s/epoch"]
    heads += ["of it validation", "MB allocated", "MB reserved"] if cuda else []
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    results: dict[str, Figures | str] = {}
    plain = {"data": "cifar10", "augment": True, "split": {"validation": 0.1}, "epochs": 2}
    plain |= {"precision": args.precision, "compile": args.compile}
    with own_home(random=True):
        data = prepare(Config.parse(plain).task)
        for name in args.models:
            config = Config.parse({**plain, "model": name, "optim": {"batch": args.batch}})
            try:
                found = figures(config, data, args.seconds)
            except (ConfigError, ImportError, ValueError, torch.OutOfMemoryError) as error:
                results[name] = str(error).splitlines()[0]
                print(f"| {name} | {results[name]} |", flush=True)
            else:
                results[name] = found
                print(row(name, found), flush=True)
    if args.json:
        told = {
            name: asdict(found) if isinstance(found, Figures) else found
            for name, found in results.items()
        }
        print(json.dumps(told))


if __name__ == "__main__":
    main()
