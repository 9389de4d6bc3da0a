"""Label smoothing: ask for a little of every class.

Two conventions are in use. `others` leaves 1 - rate on the label and rate / (K-1) on each other
class (the code of Multiplicative Reweighting, and LAS-AT); `all` spreads rate / K over every class,
the label too (torch's `label_smoothing`; Szegedy et al., arXiv 1512.00567).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from trainables.bounds import Below1
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run


def smoothed(y: Tensor, rate: float, spread: str) -> Tensor:
    """Move a share `rate` of each row's mass from its classes to the others, or to all.

    Args:
        y: (..., K) target rows that sum to any weight; the sums stay.
        rate: in [0, 1).
        spread: `others` or `all`.

    >>> import torch
    >>> smoothed(torch.tensor([1.0, 0.0, 0.0]), rate=0.3, spread="others")
    tensor([0.7000, 0.1500, 0.1500])
    >>> smoothed(torch.tensor([1.0, 0.0, 0.0]), rate=0.3, spread="all")
    tensor([0.8000, 0.1000, 0.1000])
    """
    classes = y.shape[-1]
    mass = y.sum(-1, keepdim=True)
    added = mass / classes if spread == "all" else (mass - y) / (classes - 1)
    return (1 - rate) * y + rate * added


@dataclass
class Smooth(Method):
    """Smooth the targets; scores stay those of the hard labels. Costs nothing."""

    rate: Below1 = 0.1  # default of the code of Multiplicative Reweighting
    spread: Literal["others", "all"] = "others"
    null: ClassVar = {"rate": 0.0}

    def batch(self, batch: Batch, run: Run) -> Batch:
        return replace(batch, y=smoothed(batch.y, self.rate, self.spread))
