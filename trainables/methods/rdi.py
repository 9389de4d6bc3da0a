"""RDI: pull the parameters to where they started, in place of weight decay.

The objective gains lambda^2 / 2 |theta - theta_0|^2 against a loss summed over the N training
examples, which is lambda^2 / (2 N) against the mean that is trained on.

Source: Hu, Li, Yu, "Simple and Effective Regularization Methods for Training on Noisy Labeled Data
with Generalization Guarantee", ICLR 2020, arXiv 1905.11368, section 3. On a linear model with the
squared loss it is ridge regression around theta_0. Beside CDR the pull comes after the mask, on all
parameters, as decay does in CDR's own code; `masked` lets CDR see it.
The pull joins the gradient, also under AdamW, whose own decay would not.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trainables.bounds import NonNegative
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run


def strength(lambda_: float, size: int) -> float:
    """The coefficient of theta - theta_0 in the gradient of a mean over `size` examples.

    >>> strength(10.0, 1000)
    0.1
    """
    return lambda_**2 / size


@dataclass
class RDI(Method):
    """Regularise by the distance to initialisation. Costs one copy of the parameters."""

    lambda_: NonNegative = 10.0  # ours; the source's is of a loss summed over its own data
    scope: Literal["all", "weights"] = "all"  # weights: biases and batch norm are free
    masked: bool = False  # a term of the loss, which CDR masks and scales
    null: ClassVar = {"lambda": 0.0}

    def owns_decay(self) -> bool:
        return True

    def start(self, run: Run) -> None:
        self._pulled = [
            parameter
            for parameter in run.model.parameters()
            if parameter.requires_grad and (self.scope == "all" or parameter.dim() > 1)
        ]
        # the seed gives the same start in every life of a trial
        self._start = [parameter.detach().clone() for parameter in self._pulled]
        self._strength = strength(self.lambda_, run.size)

    def penalty(self, run: Run) -> Tensor | None:
        if not self.masked:
            return None
        pairs = zip(self._pulled, self._start, strict=True)
        return self._strength / 2 * torch.stack([(p - p0).square().sum() for p, p0 in pairs]).sum()

    @torch.no_grad()
    def grads(self, batch: Batch, run: Run) -> None:
        if not self.masked:
            for parameter, start in zip(self._pulled, self._start, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - start, alpha=self._strength)

    @torch.no_grad()
    def metrics(self) -> dict[str, float]:
        pairs = zip(self._pulled, self._start, strict=True)
        moved = torch.stack([(p - p0).square().sum() for p, p0 in pairs]).sum()
        return {"distance": float(moved.sqrt())}
