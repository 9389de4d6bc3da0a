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

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softmax

from trainables.data.batch import TINY, Batch
from trainables.methods.base import Run

EPS = 1e-4  # least probability, the authors'
QUOTED_AT = 128  # batch at which lr_u and lr_v act as in the authors' code


def shifts(pair: Tensor, label: Tensor, *, bounded: bool) -> Tensor:
    """What the variables of examples add to their probabilities, (B, K).

    Args:
        pair: (B, 1 + K) u, then v.
        label: (B,) the given classes.
        bounded: whether squares are cut at 1. Projection makes that superfluous, and the cut would
            hold a variable that stands at 1: its gradient there is 0 in recent torch.

    >>> shifts(torch.tensor([[0.5, 0.1, 0.2, 0.3]]), torch.tensor([1]), bounded=False)
    tensor([[-0.0100,  0.2500, -0.0900]])
    """
    squares = pair.square()
    if bounded:
        squares = squares.clamp(max=1)
    return squares[:, 1:].neg().scatter_(1, label[:, None], squares[:, :1])


def pull(raised: Tensor, slope: Tensor) -> Tensor:
    """(..., B, K) derivative by the shift of losses of the corrected probabilities.

    Where a probability stands at EPS, before or after normalising, nothing is passed on.

    Args:
        raised: (B, K) moved probabilities, at least EPS, before they are divided by their sums.
        slope: (..., B, K) derivative by the divided ones.

    >>> pull(torch.tensor([[0.5, 0.75]]), torch.tensor([[-2.5, 0.0]]))  # of -log q at class 0
    tensor([[-1.2000,  0.8000]])
    """
    total = raised.sum(-1, keepdim=True)
    q = raised / total
    slope = slope * (q > EPS)
    return (slope - (slope * q).sum(-1, keepdim=True)).div_(total).mul_(raised > EPS)


def slopes(pair: Tensor, label: Tensor, by_shift: Tensor, *, bounded: bool) -> Tensor:
    """Derivative by the variables (B, 1 + K) of a loss whose derivative by the shift is (B, K).

    >>> pair = torch.tensor([[0.5, 0.1, 0.2]])
    >>> slopes(pair, torch.tensor([0]), torch.tensor([[3.0, 5.0]]), bounded=False)
    tensor([[ 3.,  0., -2.]])
    """
    at = label[:, None]
    by_v = by_shift.neg().scatter_(1, at, 0.0)
    by_pair = torch.cat([by_shift.gather(1, at), by_v], 1).mul_(pair).mul_(2)
    return by_pair.mul_(pair.square() < 1) if bounded else by_pair


class Known(torch.autograd.Function):
    """A loss whose gradient is known in closed form: a third of the time of tracing it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """Give the loss, (); `gradient` (B, K) is its derivative by the logits."""
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The derivative by the logits, times what comes from above."""
        (gradient,) = ctx.saved_tensors
        return grads[0] * gradient, None, None


class Settings(Protocol):
    """What both methods are told."""

    lr_u: float
    lr_v: float
    init: float
    project: bool


class Overparametrization:
    """The variables of a run's examples, and the loss that they take part in.

    Args:
        settings: of the method that owns it.
        run: its trial.

    Attributes:
        pair: (N, 1 + K) u, then v, of each example.
    """

    def __init__(self, settings: Settings, run: Run) -> None:
        self.settings, self.labels = settings, run.labels
        shape = (run.size, 1 + run.classes)
        drawn = torch.randn(shape, generator=run.stream("overparametrization"))
        self.pair = (settings.init * drawn).to(run.device)
        self._one = torch.eye(run.classes, device=run.device)
        self._moves: list[tuple[Tensor, Tensor]] = []  # rows, and what is taken from them

    @property
    def u(self) -> Tensor:
        """(N, 1) square roots of what is added at the given class."""
        return self.pair[:, :1]

    @property
    def v(self) -> Tensor:
        """(N, K) square roots of what is taken off the other classes."""
        return self.pair[:, 1:]

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
        with torch.no_grad():
            loss, gradient = self._traced(logits, batch, balance)
        known: Tensor = Known.apply(logits, loss, gradient)
        return known

    def _traced(self, logits: Tensor, batch: Batch, balance: float) -> tuple[Tensor, Tensor]:
        """The loss and its derivative by the logits; notes how the variables are to move."""
        rows, classes = logits.shape
        bounded = not self.settings.project
        pairs = [self.pair.index_select(0, part.index) for part in batch.parts]
        given = [self._one.index_select(0, part.label) for part in batch.parts]
        own = [
            shifts(pair, part.label, bounded=bounded)
            for pair, part in zip(pairs, batch.parts, strict=True)
        ]
        shares = [part.share for part in batch.parts]
        p = softmax(logits, dim=-1)
        raised = (p + mix(shares, own)).clamp_(min=EPS)
        q = (raised / raised.sum(-1, keepdim=True)).clamp_(min=EPS)
        weight = batch.y.sum(-1)
        mass = weight.sum().clamp_(min=TINY)
        # what the network learns from, and what the variables do
        slope = torch.stack([batch.y / mass, mix(shares, given)]).neg_().div_(q)
        if balance:
            mean = q.mean(0)
            even = balance / (classes * mean)
            slope[0] -= even / rows
            slope[1] -= even
        by_p, by_given = pull(raised, slope)
        gradient = p * (by_p - (by_p * p).sum(-1, keepdim=True))

        predicted = self._one.index_select(0, logits.argmax(-1))
        misses = [predicted + one - y for one, y in zip(own, given, strict=True)]
        self._moves = []
        for part, pair, miss in zip(batch.parts, pairs, misses, strict=True):
            at = part.label[:, None]
            # v learns from misses alone
            by_shift = (2 * miss).scatter_add_(1, at, by_given.gather(1, at)).mul_(part.share)
            self._moves.append((part.index, slopes(pair, part.label, by_shift, bounded=bounded)))
        missed = mix(shares, [miss.square().sum(-1) for miss in misses])
        loss = ((weight * missed).sum() - (batch.y * q.log()).sum()) / mass
        return (loss - balance * mean.log().mean() if balance else loss), gradient

    def step(self) -> None:
        """Move the variables by the newest loss; rows that are in it twice move twice."""
        for index, move in self._moves:
            move[:, :1].mul_(self.settings.lr_u / QUOTED_AT)
            move[:, 1:].mul_(self.settings.lr_v / QUOTED_AT)
            self.pair.index_add_(0, index, move, alpha=-1)
        if self.settings.project:
            for index, _ in self._moves:
                moved = self.pair.index_select(0, index).clamp_(-1, 1)
                self.pair.index_copy_(0, index, moved)
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
        others = self.v.square().scatter_(1, self.labels[:, None], 0.0)
        return self.u[:, 0].square(), others.amax(1)

    def metrics(self) -> dict[str, float]:
        """The means of `rows` over all examples."""
        return {key: float(value.mean()) for key, value in self.rows().items()}

    def state_dict(self) -> dict[str, Any]:
        """u and v."""
        return {"pair": self.pair}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy u and v into what is there."""
        self.pair.copy_(state["pair"])


def mix(shares: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    """The sum of parts in their shares.

    >>> mix([0.75, 0.25], [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])
    tensor([0.7500, 0.2500])
    """
    if len(parts) == 1:
        return parts[0]
    first = shares[0] * parts[0]
    for share, part in zip(shares[1:], parts[1:], strict=True):
        first += share * part
    return first


def memory(size: int, classes: int) -> int:
    """Bytes of u and v."""
    return 4 * size * (1 + classes)
