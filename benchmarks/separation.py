"""SOP's separation where the network is linear: sparse corruption leaves what is of low rank alone.

Observed is y = J theta + s, with J (N, p) of low rank, p above N, and s sparse. Plain least squares
spreads s over theta. Over-parametrised by s = u^2 - v^2 with a small start, plain gradient descent
on the squared error finds both, without any penalty, by its implicit bias: towards the smallest

    |theta|^2 / 2 + strength |s|_1     with J theta + s = y,    strength = -log(start) / (2 ratio).

Source: Liu, Zhu, Qu, You, arXiv 2202.14026 (the linear problem, and the bias); You, Zhu, Qu, Ma,
"Robust Recovery via Implicit Bias of Discrepant Learning Rates for Double Over-parameterization",
arXiv 2006.08857. With a small step u v stays start^2, so that s = -2 start^2 sinh(4 ratio nu),
where nu sums step x residual and theta = -J^T nu.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """y = map theta + sparse.

    Attributes:
        map: (N, p) of low rank, spectral norm 1.
        theta: (p,) within the rows of the map.
        sparse: (N,) mostly 0.
    """

    map: Tensor
    theta: Tensor
    sparse: Tensor

    @property
    def clean(self) -> Tensor:
        return self.map @ self.theta

    @property
    def seen(self) -> Tensor:
        return self.clean + self.sparse

    def error(self, theta: Tensor) -> float:
        """Of the clean predictions: |J theta' - J theta| / |J theta|."""
        return float((self.map @ theta - self.clean).norm() / self.clean.norm())


def problem(
    draws: torch.Generator,
    *,
    count: int = 200,
    wide: int = 400,
    rank: int = 5,
    share: float = 0.2,
    size: float = 3.0,
) -> Problem:
    """Draw a problem.

    Args:
        draws: the randomness.
        count: N.
        wide: p.
        rank: of the map.
        share: of the N values that are corrupted.
        size: of each corruption, of either sign; clean values are about 1.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64)

    left, right = (torch.linalg.qr(normal(side, rank)).Q for side in (count, wide))
    theta = right @ normal(rank) * math.sqrt(count / rank)
    sparse = torch.zeros(count, dtype=torch.float64)
    where = torch.randperm(count, generator=draws)[: round(share * count)]
    sparse[where] = size * normal(len(where)).sign()
    return Problem(left @ right.T, theta, sparse)


def least_squares(given: Problem) -> Tensor:
    """(p,) theta of least squared error and, of those, of least norm."""
    solution: Tensor = torch.linalg.pinv(given.map) @ given.seen
    return solution


@dataclass
class Descent:
    """Where gradient descent came to.

    Attributes:
        theta: (p,).
        sparse: (N,) u^2 - v^2.
        nu: (N,) sum of step x residual.
        errors: `Problem.error` after each step.
    """

    theta: Tensor
    sparse: Tensor
    nu: Tensor
    errors: list[float]


def descend(given: Problem, start: float, step: float, ratio: float, steps: int) -> Descent:
    """Gradient descent on |J theta + u^2 - v^2 - y|^2 / 2, jointly in theta, u and v.

    Args:
        given: the problem.
        start: of every u and v; theta starts at 0.
        step: of theta.
        ratio: of the step of u and v to that of theta.
        steps: how many.
    """
    theta = torch.zeros_like(given.theta)
    u = torch.full_like(given.sparse, start)
    v, nu, errors, seen = u.clone(), torch.zeros_like(u), [], given.seen
    for _ in range(steps):
        miss = given.map @ theta + u.square() - v.square() - seen
        nu += step * miss
        theta = theta - step * (given.map.T @ miss)
        u, v = u * (1 - 2 * ratio * step * miss), v * (1 + 2 * ratio * step * miss)
        errors.append(given.error(theta))
    return Descent(theta, u.square() - v.square(), nu, errors)
