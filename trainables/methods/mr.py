"""Multiplicative Reweighting: train less on examples whose loss stays high.

Each training example i sums its loss l_i into a total L_i, once per period, and is then weighed by
exp(-eta L_i). Mislabelled examples are learned late, so their totals grow fastest and their weights
shrink. A cap on the weights, 1 / (max_weight N) after normalisation, makes at least a share
max_weight of the examples count.

Source: Bar, Koren, Giryes, "Multiplicative Reweighting for Robust Neural Network Optimization",
arXiv 2102.12192, algorithms 1 and 2. The authors' code measures l_i in train mode on augmented
images (`losses: train`), which moves batch-norm statistics while it measures; here nothing moves,
and the default measures in evaluation mode. Their projection is one sweep that can lose mass
(`projection: one-sweep`); the default is exact. A changed eta reweighs the whole history, as in
their code.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from trainables.bounds import Fraction, NonNegative, Positive, Unit
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run, steps_of


def weights(total: Tensor, eta: float) -> Tensor:
    """Weigh examples by exp(-eta total), normalised, in log space so that nothing underflows.

    Args:
        total: (N,) summed losses, nats.
        eta: per nat; 0 weighs every example equally.

    Returns:
        (N,) logarithms of weights that sum to 1.

    >>> log_weight = weights(torch.tensor([0.0, 1.0, 2.0]), eta=math.log(2))
    >>> [round(7 * weight, 4) for weight in log_weight.exp().tolist()]
    [4.0, 2.0, 1.0]
    """
    return torch.log_softmax(-eta * total, dim=0)


def capped(log_weight: Tensor, cap: float) -> Tensor:
    """Project weights onto {p <= cap, sum p = 1}, nearest in Kullback-Leibler divergence.

    The projection is min(c w, cap). The k heaviest are cut for the smallest k at which the others,
    scaled to share 1 - k cap, stay below the cap.

    Args:
        log_weight: (N,) logarithms of weights that sum to 1.
        cap: at least 1 / N.

    Returns:
        (N,) logarithms of the projected weights.

    >>> capped(torch.tensor([0.7, 0.2, 0.1]).log(), cap=0.4).exp()
    tensor([0.4000, 0.4000, 0.2000])
    """
    ordered = log_weight.sort(descending=True).values
    rest = ordered.flip(0).logcumsumexp(0).flip(0)  # [k]: log of the mass without the k heaviest
    share = 1 - cap * torch.arange(len(ordered), device=rest.device, dtype=rest.dtype)
    scale = share.clamp(min=0).log() - rest
    fits = (scale + ordered <= math.log(cap) + 1e-12) & (share > 0)
    cut = int(fits.to(torch.uint8).argmax())
    return (log_weight + scale[cut]).clamp(max=math.log(cap))


def capped_one_sweep(log_weight: Tensor, cap: float) -> Tensor:
    """The released projection: what is over the cap goes to the others once, then all are cut.

    Also what the sweep itself lifts over the cap is cut, and that mass is lost.

    >>> capped_one_sweep(torch.tensor([0.7, 0.2, 0.1]).log(), cap=0.4).exp()
    tensor([0.4000, 0.4000, 0.2000])
    """
    weight = log_weight.exp()
    below = weight < cap
    excess = (weight - cap).clamp(min=0).sum()
    lift = torch.log1p(excess / weight[below].sum())
    return torch.where(below, log_weight + lift, log_weight).clamp(max=math.log(cap))


LEAST = -60.0  # log of a weight that counts as nothing, but from which a gradient can be read
PROJECTIONS = {"exact": capped, "one-sweep": capped_one_sweep}


@dataclass
class MR(Method):
    """Reweigh examples by their summed loss. Costs one forward pass over the data per period."""

    eta: NonNegative = 0.01  # per nat; default of the authors' code
    period: Positive = 1.0  # epochs between weight updates
    max_weight: Fraction = 1.0  # share of examples that must count; 1 turns the cap off, as theirs
    projection: Literal["exact", "one-sweep"] = "exact"
    losses: Literal["eval", "train"] = "eval"
    gamma: Positive = 1.0  # factor on eta at each milestone
    milestones: tuple[Unit, ...] = ()  # shares of the training
    null: ClassVar = {"eta": 0.0}

    def memory(self, size: int, classes: int) -> int:
        return 16 * size  # two numbers of 8 bytes

    def start(self, run: Run) -> None:
        self.total = torch.zeros(run.size, dtype=torch.float64, device=run.device)  # nats
        self.weight = weights(self.total, 0.0)  # logarithms

    def batch(self, batch: Batch, run: Run) -> Batch:
        weight = self.weight[batch.index]
        # relative to the batch's heaviest: a batch of only light examples still trains
        relative = torch.exp((weight - weight.max()).clamp(min=LEAST)).to(batch.y.dtype)
        return replace(batch, y=batch.y * relative[:, None])

    def step(self, batch: Batch, run: Run) -> None:
        if self.period < 1:
            self._update(run)

    def epoch(self, run: Run) -> None:
        if self.period >= 1:
            self._update(run)

    def _update(self, run: Run) -> None:
        done = run.step + 1
        if done % steps_of(self.period, run):
            return
        passed = sum(done >= round(milestone * run.steps) for milestone in self.milestones)
        self.total += run.losses(self.losses)
        self.weight.copy_(weights(self.total, self.eta * self.gamma**passed))
        if self.max_weight < 1:
            cap = 1 / (self.max_weight * run.size)
            self.weight.copy_(PROJECTIONS[self.projection](self.weight, cap))

    def suspicion(self) -> Tensor:
        return self.total

    def rows(self) -> dict[str, Tensor]:
        return {"weight": torch.softmax(self.weight, dim=0) * len(self.weight)}  # 1: as the others

    def metrics(self) -> dict[str, float]:
        share = torch.softmax(self.weight, dim=0)
        return {"ess": 1 / (len(share) * float(share.square().sum()))}  # effective share of N

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total.copy_(state["total"])
        self.weight.copy_(state["weight"])
