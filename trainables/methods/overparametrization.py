"""Sparse over-parametrization: variables of each example that take up what its label gets wrong.

Example i has u_i and, for every class, v_ik, near 0 at the start. The network's probabilities are
moved by s_i before they meet the label: u_i^2 at the given class, -v_ik^2 at the others. A label
that the network cannot follow is followed by s_i, and the network need not memorise it. The methods
`sop` and `sop-plus` are built on this file.

Source: Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022,
arXiv 2202.14026, and the authors' code. The code never projects u and v to [-1, 1], so that one
that has left this range is stuck (`project: false`); the paper does. Their steps act on the batch's
mean and so change with the batch; here a row's step does not depend on who shares its batch.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from trainables.data.batch import Batch, reduced
from trainables.methods.base import Run

EPS = 1e-4  # least probability, the authors'
QUOTED_AT = 128  # batch at which lr_u and lr_v act as in the authors' code


def shifts(u: Tensor, v: Tensor, label: Tensor, *, bounded: bool) -> Tensor:
    """What the variables of examples add to their probabilities.

    Args:
        u: (B, 1).
        v: (B, K).
        label: (B,) the given classes.
        bounded: whether squares are cut at 1. Projection makes that superfluous, and the cut would
            hold a variable that stands at 1: its gradient there is 0 in recent torch.

    >>> u, v = torch.tensor([[0.5]]), torch.tensor([[0.1, 0.2, 0.3]])
    >>> shifts(u, v, torch.tensor([1]), bounded=False)
    tensor([[-0.0100,  0.2500, -0.0900]])
    """
    up, down = u.square(), v.square()
    if bounded:
        up, down = up.clamp(max=1), down.clamp(max=1)
    return (-down).scatter(1, label[:, None], up)


def pull(raised: Tensor, slope: Tensor) -> Tensor:
    """(B, K) derivative by the shift of a loss of the corrected probabilities.

    Where a probability stands at EPS, before or after normalising, nothing is passed on.

    Args:
        raised: (B, K) moved probabilities, at least EPS, before they are divided by their sums.
        slope: (B, K) derivative by the divided ones.

    >>> pull(torch.tensor([[0.5, 0.75]]), torch.tensor([[-2.5, 0.0]]))  # of -log q at class 0
    tensor([[-1.2000,  0.8000]])
    """
    total = raised.sum(-1, keepdim=True)
    q = raised / total
    slope = torch.where(q > EPS, slope, 0)
    moved = (slope - (slope * q).sum(-1, keepdim=True)) / total
    return torch.where(raised > EPS, moved, 0)


def slopes(
    u: Tensor, v: Tensor, label: Tensor, by_shift: Tensor, *, bounded: bool
) -> tuple[Tensor, Tensor]:
    """Derivatives by u (B, 1) and v (B, K) of a loss whose derivative by the shift is (B, K).

    >>> u, v = torch.tensor([[0.5]]), torch.tensor([[0.1, 0.2]])
    >>> slopes(u, v, torch.tensor([0]), torch.tensor([[3.0, 5.0]]), bounded=False)
    (tensor([[3.]]), tensor([[ 0., -2.]]))
    """
    at = label[:, None]
    by_u = 2 * u * by_shift.gather(1, at)
    by_v = (-2 * v * by_shift).scatter(1, at, 0.0)
    if bounded:
        by_u, by_v = torch.where(u.square() < 1, by_u, 0), torch.where(v.square() < 1, by_v, 0)
    return by_u, by_v


class Settings(Protocol):
    """What both methods are told."""

    lr_u: float
    lr_v: float
    init: float
    project: bool


@dataclass(frozen=True)
class Move:
    """What a step takes from the rows `index` (B,) of u and v, but for its length."""

    index: Tensor
    u: Tensor  # (B, 1)
    v: Tensor  # (B, K)


class Overparametrization:
    """The variables of a run's examples, and the loss that they take part in.

    Args:
        settings: of the method that owns it.
        run: its trial.
    """

    def __init__(self, settings: Settings, run: Run) -> None:
        self.settings, self.labels = settings, run.labels
        shape = (run.size, 1 + run.classes)
        drawn = settings.init * torch.randn(shape, generator=run.stream("overparametrization"))
        self.u = drawn[:, :1].contiguous().to(run.device)  # (N, 1)
        self.v = drawn[:, 1:].contiguous().to(run.device)  # (N, K)
        self._moves: list[Move] = []

    def loss(self, logits: Tensor, batch: Batch, balance: float = 0.0) -> Tensor:
        """The batch's loss, (), in nats and squares; `step` then moves the variables by it.

        A mixed example has the shifts of its parts, in their shares. Weights and smoothing act on
        what the network learns; the variables see the given labels, all of equal weight, else
        examples that count little would never be taken up.

        Args:
            logits: (B, K) of the weak view.
            batch: the examples.
            balance: weight of the term that asks for all classes equally often.
        """
        classes = logits.shape[-1]
        bounded = not self.settings.project
        rows = [
            (self.u.index_select(0, part.index), self.v.index_select(0, part.index), part.label)
            for part in batch.parts
        ]
        moved = [shifts(u, v, label, bounded=bounded) for u, v, label in rows]
        given = [one_hot(label, classes) for _, _, label in rows]
        shift, hard = torch.zeros_like(logits), torch.zeros_like(logits)
        for part, one, y in zip(batch.parts, moved, given, strict=True):
            shift += part.share * one
            hard += part.share * y
        raised = (softmax(logits, dim=-1) + shift).clamp(min=EPS)
        q = (raised / raised.sum(-1, keepdim=True)).clamp(min=EPS)
        mean = q.mean(0)
        losses = -(batch.y * q.log()).sum(-1)
        with torch.no_grad():
            pulled = pull(raised, -hard / q - balance / (classes * mean))
            predicted = one_hot(logits.argmax(-1), classes)
            self._moves, missed = [], torch.zeros_like(losses)
            for part, (u, v, label), one, y in zip(batch.parts, rows, moved, given, strict=True):
                miss = one + predicted - y  # of the given class, by prediction and shift
                missed += part.share * miss.square().sum(-1)
                at = label[:, None]
                by_shift = 2 * miss
                by_shift.scatter_add_(1, at, pulled.gather(1, at))  # v learns from misses only
                by_u, by_v = slopes(u, v, label, part.share * by_shift, bounded=bounded)
                self._moves.append(Move(part.index, by_u, by_v))
        loss = reduced(losses + batch.y.sum(-1) * missed, batch.y)
        return loss - balance * mean.log().mean() if balance else loss

    def step(self) -> None:
        """Move the variables by the newest loss; rows that are in it twice move twice."""
        for move in self._moves:
            self.u.index_add_(0, move.index, move.u, alpha=-self.settings.lr_u / QUOTED_AT)
            self.v.index_add_(0, move.index, move.v, alpha=-self.settings.lr_v / QUOTED_AT)
        if self.settings.project:
            for move in self._moves:
                self.u[move.index] = self.u[move.index].clamp(-1, 1)
                self.v[move.index] = self.v[move.index].clamp(-1, 1)
        self._moves = []

    def suspicion(self) -> Tensor:
        """(N,) above 1 where the given class, less what is taken up, is no longer the largest."""
        given, other = self._taken()
        return given + other

    def rows(self) -> dict[str, Tensor]:
        """(N,) each: whether a label counts as corrected, and u squared."""
        given, other = self._taken()
        # not `given + other > 1`: next to a u of 1 a small v would be rounded away
        return {"corrected": (other > 1 - given).float(), "u2": given}

    def _taken(self) -> tuple[Tensor, Tensor]:
        """(N,) each: what is taken off the given class, and the most that another one gets."""
        # v of the given class plays no part and stays where it was drawn
        others = self.v.square().scatter(1, self.labels[:, None], 0.0)
        return self.u[:, 0].square(), others.amax(1)

    def metrics(self) -> dict[str, float]:
        """The means of `rows` over all examples."""
        return {key: float(value.mean()) for key, value in self.rows().items()}

    def state_dict(self) -> dict[str, Any]:
        """u and v."""
        return {"u": self.u, "v": self.v}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy u and v into what is there."""
        self.u.copy_(state["u"])
        self.v.copy_(state["v"])


def memory(size: int, classes: int) -> int:
    """Bytes of u and v."""
    return 4 * size * (1 + classes)
