"""Random weights: the control experiment of every reweighting method.

Each step weighs its examples by max(z, 0), z standard normal; the loss divides by the batch's sum.
A batch without one positive draw trains nothing.

Source: the random baseline of Ren et al., "Learning to Reweight Examples for Robust Deep Learning",
arXiv 1803.09050, whose CIFAR code divides by zero in such a batch.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.data.batch import Batch
from trainables.methods.base import Method, Run


def rectified(z: Tensor) -> Tensor:
    """Weights (B,) of draws (B,): what is positive.

    >>> rectified(torch.tensor([-1.0, 0.5, 2.0]))
    tensor([0.0000, 0.5000, 2.0000])
    """
    return z.clamp(min=0)


@dataclass
class RandomWeights(Method):
    """Weigh examples at random, anew in each step. Costs nothing and knows nothing."""

    def batch(self, batch: Batch, run: Run) -> Batch:
        z = torch.randn(len(batch.y), generator=run.stream("random-weights"))
        return replace(batch, y=batch.y * rectified(z).to(batch.y, non_blocking=True)[:, None])
