"""CDR: let only the critical weights learn, and those less.

Each step ranks the weights by |gradient x weight| on the batch. The share 1 - rate that ranks
highest is critical and takes the gradient times `scale`; the others take none and only decay.

The L1 term joins the gradient, also under AdamW, whose own decay would not.

Source: Xia et al., "Robust Early-Learning: Hindering the Memorization of Noisy Labels", ICLR 2021,
and the authors' code. The paper penalises by L1 (`decay: l1`), ranks all parameters (`scope: all`)
and has no momentum; in the code the optimizer's own L2 decays everything, only the weights of
linear and convolution layers are ranked, biases and batch norm keep their full gradients, and
momentum still moves a weight that is not critical. The code sets up a gradual schedule and then
overwrites it; here it works. Its rate is the noise rate of the data, here a hyperparameter.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trainables.bounds import Below1, Fraction, Unit
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run


def threshold(scores: Tensor, share: float) -> Tensor:
    """The least score, (), among the given share of (M,) scores that are largest; of one at least.

    Ties at it all count as among them; where most scores are 0 and it is 0, all do.

    >>> threshold(torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0]), share=0.4)
    tensor(4.)
    """
    count = max(1, math.floor(share * len(scores) + 1e-6))  # 0.2 x 10 is 2, whatever 1 - 0.8 is
    rank = len(scores) - count  # from 0, ascending
    if scores.device.type == "cpu":  # a tenth of the time of torch's kthvalue
        return torch.tensor(np.partition(scores.numpy(), rank)[rank])
    return scores.sort().values[rank]  # where kthvalue is slower than a sort


@dataclass
class CDR(Method):
    """Train critical weights only. Costs a ranking of all weights per step."""

    rate: Below1 = 0.2  # share of the weights that is not critical; the authors': the noise rate
    scale: Fraction | None = None  # on critical gradients; none: 1 - rate, the authors'
    decay: Literal["l2", "l1"] = "l2"  # l1: a gradient term of decay's strength, in its place
    scope: Literal["weights", "all"] = "weights"  # all: biases and batch norm are ranked, too
    gradual: Unit = 0.0  # share of the training over which rate and scale come into force
    null: ClassVar = {"rate": 0.0, "scale": None}

    def owns_decay(self) -> bool:
        return self.decay == "l1"

    def start(self, run: Run) -> None:
        self._ranked = [
            parameter
            for parameter in run.model.parameters()
            if parameter.requires_grad and (self.scope == "all" or parameter.dim() > 1)
        ]

    @torch.no_grad()
    def grads(self, batch: Batch, run: Run) -> None:
        scale = 1 - self.rate if self.scale is None else self.scale
        if self.rate > 0 or scale < 1:
            begun = min(1.0, run.step / (self.gradual * run.steps)) if self.gradual else 1.0
            self._mask(1 - begun * self.rate, 1 - begun * (1 - scale))
        if self.decay == "l1":
            for parameter in run.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.sign(), alpha=run.decay)

    def _mask(self, share: float, scale: float) -> None:
        ranked = [parameter for parameter in self._ranked if parameter.grad is not None]
        grads = [parameter.grad for parameter in ranked if parameter.grad is not None]
        scores = [(grad * parameter).abs_() for grad, parameter in zip(grads, ranked, strict=True)]
        least = threshold(torch.cat([score.flatten() for score in scores]), share)
        for grad, score in zip(grads, scores, strict=True):
            grad.mul_((score >= least).to(grad.dtype).mul_(scale))
