"""SCE: symmetric cross-entropy, which adds that of the label under the prediction.

Source: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019,
arXiv 1908.06112; as in the code of stochastic resetting, where the label's zeros count as 1e-4 and
probabilities below 1e-7 pass no gradient.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from trainables.bounds import NonNegative
from trainables.data.batch import Batch, reduced
from trainables.methods.base import Method, Run

LEAST = 1e-7  # probability
ZERO = -math.log(1e-4)  # nats that stand for the logarithm of a label's 0


def symmetric(logits: Tensor, y: Tensor, alpha: float, beta: float) -> Tensor:
    """Weighted alpha CE + beta reverse CE of each example, in nats.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight.
        alpha, beta: weights of the two terms.

    Returns:
        (..., B).

    >>> import torch
    >>> logits = torch.tensor([[1.0986123, 0.0]])  # 3 to 1
    >>> symmetric(logits, torch.tensor([[0.0, 1.0]]), alpha=1, beta=0)
    tensor([1.3863])
    >>> symmetric(logits, torch.tensor([[0.0, 1.0]]), alpha=0, beta=1)  # 3/4 of -log 1e-4
    tensor([6.9078])
    """
    p = softmax(logits, dim=-1).clamp(min=LEAST)
    others = p.sum(-1, keepdim=True) - p
    return (y * (beta * ZERO * others - alpha * log_softmax(logits, dim=-1))).sum(-1)


@dataclass
class SCE(Method):
    """Train with symmetric cross-entropy. Costs nothing."""

    alpha: NonNegative = 0.1  # of cross-entropy; the authors' for CIFAR-10
    beta: NonNegative = 1.0  # of the reverse one
    null: ClassVar = {"alpha": 1.0, "beta": 0.0}

    def owns_loss(self) -> bool:
        return True

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return reduced(symmetric(logits, batch.y, self.alpha, self.beta), batch.y)
