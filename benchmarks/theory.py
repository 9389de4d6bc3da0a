"""The theory behind the methods, drawn: what is proved on small problems, and how far it goes.

    python -m benchmarks.theory                     all pictures, into docs/pictures
    python -m benchmarks.theory --only reset        those whose name has the word
    python -m benchmarks.theory --out /tmp/x --seeds 1

`tests/test_theory.py` asserts what can be asserted. The pictures theory-*.png add what can only be
looked at, and each prints its figures. All take about four minutes, most of them for `reset`,
which trains on digits.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from benchmarks import recursions, ridge, separation
from benchmarks.alignment import Trace, trace
from benchmarks.homes import own_home
from benchmarks.machine import machine
from benchmarks.plot import Axis, Curve, plot
from trainables.methods.auxiliary import Aux
from trainables.methods.rdi import RDI

SIGMA = 0.4  # share of wrong labels
LEAST = 1e-12  # of what is drawn on a log axis


def logistic(seeds: int) -> Image.Image:
    """Algorithm 3 with one parameter: simulated, exact, and plain gradient descent."""
    steps, alpha = 2000, 1.0
    marks = [round(10 ** (i / 8)) for i in range(8 * 3 + 3)]
    curves = [
        Curve(
            "exact recursion, eta 0.1",
            range(1, steps + 1),
            recursions.logistic_exact(SIGMA, alpha, 0.1, steps).theta[1:],
        )
    ]
    run = recursions.logistic_run(SIGMA, alpha, 0.1, steps)
    found = [run.theta[mark] for mark in marks]
    curves.append(Curve("200 points", marks, found, line=False, points=True))
    plain = recursions.logistic_run(SIGMA, alpha, 0.0, steps).theta[1:]
    curves.append(Curve("gradient descent", range(1, steps + 1), plain))
    odds = math.log((1 - SIGMA) / SIGMA)
    curves.append(Curve("log 1.5", [1, steps], [odds, odds], dashed=True, colour=6))
    print(f"logistic: theta {run.theta[100]:.2f}, {run.theta[1000]:.2f}; plain {plain[-1]:.4f}")
    title = "MR in one dimension, 40 % of the labels flipped"
    return plot(curves, title, Axis("step", log=True), Axis("parameter"))


def stochastic(seeds: int) -> Image.Image:
    """One example a step, drawn by its weight: fast weights can settle on the wrong side."""
    curves = []
    for colour, (alpha, eta) in enumerate(((1.0, 0.1), (0.1, 0.01))):
        ends = []
        for seed in range(20):
            draws = torch.Generator().manual_seed(seed)
            course = recursions.logistic_run(SIGMA, alpha, eta, 1000, drawn=draws).theta
            ends.append(course[-1])
            if seed < 6:
                name = "" if seed else f"learning rate {alpha:g}, eta {eta:g}"
                curves.append(Curve(name, range(1001), course, colour=colour))
        print(f"stochastic: lr {alpha}, eta {eta}: {sum(end > 1 for end in ends)} of 20 right")
    title = "MR with one drawn example a step, six runs each"
    return plot(curves, title, Axis("step"), Axis("parameter"))


def linear(seeds: int) -> Image.Image:
    """Algorithm 4: what least squares and MR make of a parameter that is 1."""
    curves, steps = [], 120
    for sigma in (0.4, 0.45, 0.49):
        exact = recursions.linear_exact(sigma, 2.0, 0.1, steps)
        loss = [2 * noisy**2 for noisy in exact.noisy]
        curves.append(Curve(f"share {sigma}", range(steps + 1), loss))
        print(f"linear: share {sigma}: loss {loss[0]:.2f}, {loss[9]:.2f}, {loss[99]:.1e}")
    least = [2 * SIGMA**2] * 2
    curves.append(Curve("least squares, 0.4", [0, steps], least, dashed=True, colour=0))
    title = "Weighted least squares with MR, by the share of corrupted values"
    return plot(curves, title, Axis("step"), Axis("loss against the truth", log=True, low=1e-16))


def alone(seeds: int) -> Image.Image:
    """MR's weights against softmax(-eta t l): the assumption behind the paper's Figure 2(b)."""
    x, y, flipped = recursions.blobs(400, 0.3, torch.Generator().manual_seed(0))
    eta, curves = 0.02, []
    fits = recursions.regress(x, y, 1.0, eta, 1000)
    for colour, step in enumerate((30, 100, 1000)):
        fit = fits[step - 1]
        other = torch.softmax(-eta * step * fit.loss, 0)
        apart = float((other - fit.after).abs().sum() / 2)
        noisy = float(fit.after[flipped].sum())
        print(f"weights: step {step}: total variation {apart:.3f}, noisy mass {noisy:.4f}")
        name = f"step {step}, total variation {apart:.2f}"
        pairs = other.tolist(), fit.after.tolist()
        curves.append(Curve(name, *pairs, line=False, points=True, colour=colour))
    curves.append(Curve("equal", [LEAST, 0.01], [LEAST, 0.01], dashed=True, colour=6))
    title = "MR's weights beside those of the latest loss alone"
    across = Axis("softmax(-eta t loss)", log=True, low=LEAST)
    return plot(curves, title, across, Axis("weight", log=True, low=LEAST))


def sparse(seeds: int) -> Image.Image:
    """SOP's separation: error of the clean predictions by the start of u and v."""
    given = separation.problem(torch.Generator().manual_seed(0))
    steps, curves = 3000, []
    for start in (1e-1, 1e-2, 1e-3, 1e-6):
        found = separation.descend(given, start, 0.05, 1.0, steps)
        curves.append(Curve(f"start {start:g}", range(1, steps + 1), found.errors))
        missed = float((found.sparse - given.sparse).abs().max())
        print(f"sparse: start {start:g}: error {found.errors[-1]:.1e}, of s {missed:.1e}")
    least = given.error(separation.least_squares(given))
    print(f"sparse: least squares {least:.3f}")
    curves.append(Curve("least squares", [1, steps], [least] * 2, dashed=True, colour=6))
    title = "Low rank plus sparse, separated by u^2 - v^2: 20 % of the values corrupted"
    upright = Axis("relative error of the clean values", log=True)
    return plot(curves, title, Axis("step", log=True), upright)


def squares(seeds: int) -> Image.Image:
    """AUX and RDI on a linear network: distance from ridge regression of the strength each has."""
    given, strength = ridge.problem(torch.Generator().manual_seed(0)), 3.0
    lr, steps = len(given.x) / (given.largest() + strength**2) / 3, 1500
    cases: tuple[tuple[str, Aux | RDI, float, float], ...] = (
        ("AUX", Aux(lambda_=strength, fit="mse"), 0.0, 1.0),
        ("AUX, ratio 4: 4 lambda^2", Aux(lambda_=strength, fit="mse", ratio=4.0), 0.0, 4.0),
        ("AUX, momentum 0.9: lambda^2 / 10", Aux(lambda_=strength, fit="mse"), 0.9, 0.1),
        ("AUX, both, ratio 10", Aux(lambda_=strength, fit="mse", ratio=10.0), 0.9, 1.0),
        ("RDI", RDI(lambda_=strength), 0.0, 1.0),
        ("RDI, momentum 0.9", RDI(lambda_=strength), 0.9, 1.0),
    )
    curves = []
    for name, method, momentum, factor in cases:
        wanted = given.solution(factor * strength**2)
        course = ridge.descend(method, given, lr, steps, momentum)
        apart = [float((at - wanted).norm() / (wanted - given.start).norm()) for at in course]
        dashed = isinstance(method, RDI)  # RDI's course lies on AUX's
        curves.append(Curve(name, range(1, steps + 1), apart, dashed=dashed))
        print(f"ridge: {name}: {apart[-1]:.1e}")
    title = "A linear network with AUX or RDI ends at ridge regression"
    return plot(curves, title, Axis("step"), Axis("relative distance from it", log=True))


def reset(seeds: int) -> Image.Image:
    """Cosine of mini-batch gradients with the clean gradient, with resetting and without."""
    curves, settings = [], {"reset": {"r": 0.05, "patience": 0.1}}
    uprights = []
    with own_home():
        for name, methods in (("cross-entropy", {}), ("resetting", settings)):
            found = [trace({"seed": seed, "methods": methods}, every=34) for seed in range(seeds)]
            mean, error = average(found)
            curves.append(Curve(name, found[0].epoch, mean, error, points=True))
            begun = [one.activated for one in found if one.activated is not None]
            if begun:
                uprights = [(statistics.mean(begun), "active, on average")]
            half = len(mean) // 2
            told = f"{statistics.mean(mean[:half]):.3f}, {statistics.mean(mean[half:]):.3f}"
            resets = [one.resets for one in found]
            print(f"reset: {name}: cosine by halves {told}; active from {begun}, resets {resets}")
    title = f"Gradients of noisy mini-batches, digits, 40 % symmetric, {seeds} seeds"
    upright = Axis("cosine with the clean gradient")
    return plot(curves, title, Axis("epoch"), upright, uprights=uprights)


def average(traces: list[Trace]) -> tuple[list[float], list[float]]:
    """Mean and standard error of the mean at each point."""
    columns = list(zip(*(one.cosine for one in traces), strict=True))
    spread = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns]
    means = [statistics.mean(column) for column in columns]
    return means, [each / math.sqrt(len(traces)) for each in spread]


PICTURES: dict[str, Callable[[int], Image.Image]] = {
    "logistic": logistic,
    "stochastic": stochastic,
    "linear": linear,
    "weights": alone,
    "sparse": sparse,
    "ridge": squares,
    "reset": reset,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", default="", help="pictures whose name has this in it")
    parser.add_argument("--seeds", type=int, default=5, help="trials of the picture of resetting")
    args = parser.parse_args()
    chosen = {name: draw for name, draw in PICTURES.items() if args.only in name}
    if not chosen:
        parser.error(f"--only {args.only}: no picture has this in its name ({', '.join(PICTURES)})")
    torch.set_num_threads(1)
    print(machine())
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in chosen.items():
        draw(args.seeds).save(args.out / f"theory-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
