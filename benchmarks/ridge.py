"""AUX and RDI where they are solved: on a linear network, where both end at ridge regression.

Full-batch gradient descent on the mean squared error of W x to one-hot labels, driven through the
hooks of `trainables.methods`, ends at the W that minimises

    |X W^T - Y|^2 / 2 + strength |W - W_0|^2 / 2

with strength lambda^2 for both. AUX's variables take no momentum: at a momentum m of the network
W moves 1 / (1 - m) as far as they do, and with a learning rate `ratio` times the network's they
move further by it. So AUX ends at strength lambda^2 ratio (1 - m).

Source: Hu, Li, Yu, arXiv 1905.11368, theorem 4.1; the effect of ratio and momentum follows from
W - W_0 = B^T X / (lambda ratio (1 - m)), where B stacks AUX's variables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part, reduced
from trainables.methods.auxiliary import Aux, squared
from trainables.methods.base import Method, Run
from trainables.methods.rdi import RDI


@dataclass(frozen=True)
class Problem:
    """(N, d) x, (N,) label of K classes, (K, d) start; all float64."""

    x: Tensor
    label: Tensor
    start: Tensor

    @property
    def y(self) -> Tensor:
        return one_hot(self.label, len(self.start)).to(self.x.dtype)

    def solution(self, strength: float) -> Tensor:
        """(K, d) of ridge regression around the start."""
        side = self.x.shape[1]
        penalty = strength * torch.eye(side, dtype=self.x.dtype)
        wanted = self.x.T @ self.y + strength * self.start.T
        solved: Tensor = torch.linalg.solve(self.x.T @ self.x + penalty, wanted)
        return solved.T

    def largest(self) -> float:
        """The largest eigenvalue of X^T X: a step of N over it and lambda^2 is stable."""
        return float(torch.linalg.matrix_norm(self.x, 2)) ** 2


def problem(
    draws: torch.Generator, *, count: int = 40, wide: int = 60, classes: int = 3
) -> Problem:
    """Random inputs and labels; wider than there are examples, so that it could memorise them."""
    with doubles():
        x = torch.randn(count, wide, generator=draws)
        label = torch.randint(classes, (count,), generator=draws)
        start = 0.1 * torch.randn(classes, wide, generator=draws)
    return Problem(x, label, start)


@contextmanager
def doubles() -> Iterator[None]:
    """Float64 by default, as the methods' memories take what is the default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def descend(
    method: Aux | RDI, given: Problem, lr: float, steps: int, momentum: float = 0.0
) -> list[Tensor]:
    """Gradient descent with one method; gives W after each step.

    Args:
        method: AUX (`fit: mse`) or RDI.
        given: the problem.
        lr: of a loss averaged over the examples.
        steps: how many.
        momentum: heavy ball, of W alone.
    """
    with doubles():
        model = torch.nn.Linear(given.x.shape[1], len(given.start), bias=False)
        with torch.no_grad():
            model.weight.copy_(given.start)
        rows = torch.arange(len(given.x))
        batch = Batch(given.x, given.y, given.label, rows, (Part(rows, given.label, 1.0),))
        facts: dict[str, Any] = {"size": len(rows), "classes": len(given.start), "lr": lr}
        facts |= {"steps": steps, "steps_per_epoch": 1, "device": torch.device("cpu")}
        run = SimpleNamespace(model=model, labels=given.label, step=0, **facts)
        return list(_course(method, batch, run, momentum))


def _course(
    method: Method, batch: Batch, stand_in: SimpleNamespace, momentum: float
) -> Iterator[Tensor]:
    run = cast(Run, stand_in)
    method.start(run)
    sgd = torch.optim.SGD(run.model.parameters(), lr=run.lr, momentum=momentum)
    while run.step < run.steps:
        logits = method.logits(run.model(batch.x), batch, run)
        sgd.zero_grad()
        reduced(squared(logits, batch.y), batch.y).backward()  # type: ignore[no-untyped-call]
        method.grads(batch, run)
        sgd.step()
        method.step(batch, run)
        run.step += 1
        yield next(run.model.parameters()).detach().clone()
