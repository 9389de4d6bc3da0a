"""Multiplicative Reweighting where it can be followed by hand: one parameter, one kind of noise.

N points x_i in {-1, 1} with labels that follow x_i, of which a share sigma is corrupted alike. Then
all clean examples have one loss and all corrupted ones another, and the weights are told by one
number, the mass q of the corrupted ones. Each experiment comes twice: `*_run` trains on N points
with the weights of `trainables.methods.mr`, `*_exact` follows the recursion of q.

Source: Bar, Koren, Giryes, arXiv 2102.12192, algorithms 3 (gradient descent) and 4 (weighted least
squares), theorem 4.6, lemma 4.8. The recursions are our own derivation from the algorithms.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.methods.mr import capped, weights


@dataclass
class Course:
    """What one experiment went through.

    Attributes:
        theta: the parameter after 0, 1, ... steps.
        noisy: the weight of all corrupted examples together then.
    """

    theta: list[float] = field(default_factory=list)
    noisy: list[float] = field(default_factory=list)

    def add(self, theta: float, noisy: float) -> None:
        self.theta.append(theta)
        self.noisy.append(noisy)


def points(count: int, sigma: float) -> tuple[Tensor, Tensor]:
    """(N,) x in {-1, 1} by turns, and which of them are corrupted: the first sigma N."""
    x = torch.ones(count, dtype=torch.float64)
    x[1::2] = -1
    return x, torch.arange(count) < round(sigma * count)


def logistic_run(
    sigma: float,
    alpha: float,
    eta: float,
    steps: int,
    *,
    count: int = 200,
    cap: float | None = None,
    drawn: torch.Generator | None = None,
) -> Course:
    """Algorithm 3: gradient descent on the weighted logistic loss, labels y_i = x_i or flipped.

    Args:
        sigma: share of flipped labels.
        alpha: learning rate.
        eta: of the weights, per nat; 0 is plain gradient descent.
        steps: how many.
        count: N.
        cap: on a weight; none by default.
        drawn: draws one example a step by its weight and steps on its loss alone (theorem 4.4).
    """
    x, flipped = points(count, sigma)
    y = torch.where(flipped, -x, x)
    theta = torch.zeros((), dtype=torch.float64)
    total = torch.zeros(count, dtype=torch.float64)
    weight = weights(total, eta).exp()
    course = Course()
    course.add(0.0, float(weight[flipped].sum()))
    for _ in range(steps):
        slope = -y * x * torch.sigmoid(-y * x * theta)
        if drawn is None:
            theta = theta - alpha * (weight * slope).sum()
        else:
            theta = theta - alpha * slope[torch.multinomial(weight, 1, generator=drawn)[0]]
        total += torch.nn.functional.softplus(-y * x * theta)
        log_weight = weights(total, eta)
        weight = (log_weight if cap is None else capped(log_weight, cap)).exp()
        course.add(float(theta), float(weight[flipped].sum()))
    return course


def logistic_exact(sigma: float, alpha: float, eta: float, steps: int) -> Course:
    """theta += alpha (s(-theta) - q); logit q = logit sigma - eta (the sum of theta so far).

    >>> course = logistic_exact(sigma=0.4, alpha=1.0, eta=0.1, steps=1000)
    >>> round(course.theta[100], 2), round(course.theta[1000], 2)
    (4.3, 6.88)
    """
    theta, logit, course = 0.0, math.log(sigma / (1 - sigma)), Course()
    course.add(theta, sigma)
    for _ in range(steps):
        theta += alpha * (_sigmoid(-theta) - _sigmoid(logit))
        logit -= eta * theta
        course.add(theta, _sigmoid(logit))
    return course


def linear_run(
    sigma: float, shift: float, eta: float, steps: int, *, truth: float = 1.0, count: int = 200
) -> Course:
    """Algorithm 4: weighted least squares, y_i = truth x_i, corrupted ones smaller by shift x_i."""
    x, corrupted = points(count, sigma)
    y = truth * x - shift * x * corrupted
    total = torch.zeros(count, dtype=torch.float64)
    course = Course()
    for _ in range(steps + 1):
        weight = weights(total, eta).exp()
        theta = (weight * x * y).sum() / (weight * x * x).sum()
        total += (theta * x - y).square() / 2
        course.add(float(theta), float(weight[corrupted].sum()))
    return course


def linear_exact(
    sigma: float, shift: float, eta: float, steps: int, *, truth: float = 1.0
) -> Course:
    """theta = truth - shift q; logit q = logit sigma - eta shift^2 / 2 (the sum of 1 - 2q so far).

    >>> course = linear_exact(sigma=0.4, shift=2.0, eta=0.1, steps=10)
    >>> [round((theta - 1) ** 2 / 2, 2) for theta in (course.theta[0], course.theta[9])]
    [0.32, 0.16]
    """
    logit, course = math.log(sigma / (1 - sigma)), Course()
    for _ in range(steps + 1):
        noisy = _sigmoid(logit)
        course.add(truth - shift * noisy, noisy)
        logit -= eta * shift**2 / 2 * (1 - 2 * noisy)
    return course


def _sigmoid(value: float) -> float:
    """Exact far out, too."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


@dataclass
class Fit:
    """Logistic regression by gradient descent and Multiplicative Reweighting, at some step.

    Attributes:
        theta: (d,) parameters.
        loss: (N,) logistic losses at theta, nats.
        before: (N,) weights that led to theta.
        after: (N,) weights made from the losses up to this one.
    """

    theta: Tensor
    loss: Tensor
    before: Tensor
    after: Tensor


def regress(
    x: Tensor, y: Tensor, alpha: float, eta: float, steps: int, cap: float | None = None
) -> list[Fit]:
    """Algorithm 3 on any data.

    Args:
        x: (N, d) float64.
        y: (N,) labels, -1 or 1.
        alpha, eta, steps, cap: as of `logistic_run`.
    """
    theta = torch.zeros(x.shape[1], dtype=torch.float64)
    total = torch.zeros(len(x), dtype=torch.float64)
    weight, fits = weights(total, eta).exp(), []
    for _ in range(steps):
        slope = -y * torch.sigmoid(-y * (x @ theta))
        theta = theta - alpha * (weight * slope) @ x
        loss = torch.nn.functional.softplus(-y * (x @ theta))
        total += loss
        log_weight = weights(total, eta)
        after = (log_weight if cap is None else capped(log_weight, cap)).exp()
        fits.append(Fit(theta, loss, weight, after))
        weight = after
    return fits


def sensitivity(theta: Tensor, loss: Tensor) -> Tensor:
    """|dl/dx| of the logistic loss l = log(1 + exp(-y theta x)), from l alone: it grows with l."""
    slope: Tensor = theta.norm() * -torch.expm1(-loss)
    return slope


def blobs(count: int, sigma: float, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Two overlapping clouds in the plane: (N, 2) x, (N,) given labels, (N,) which are flipped."""
    y = torch.ones(count, dtype=torch.float64)
    y[1::2] = -1
    x = torch.randn(count, 2, generator=draws, dtype=torch.float64) + y[:, None]
    flipped = torch.randperm(count, generator=draws) < round(sigma * count)
    return x, torch.where(flipped, -y, y), flipped
