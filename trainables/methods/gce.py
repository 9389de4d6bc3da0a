"""GCE: generalised cross-entropy, between cross-entropy (q near 0) and absolute error (q = 1).

Source: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
Labels", NeurIPS 2018, arXiv 1805.07836; as in the code of stochastic resetting, which adds 1e-7 to
the probability.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softmax

from trainables.bounds import Fraction
from trainables.data.batch import Batch, reduced
from trainables.methods.base import Method, Run

LEAST = 1e-7  # keeps the gradient finite at p = 0


def generalised(logits: Tensor, y: Tensor, q: float) -> Tensor:
    """Weighted (1 - p_y^q) / q of each example.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight.
        q: in (0, 1].

    Returns:
        (..., B).

    >>> import torch
    >>> generalised(torch.tensor([[1.0986123, 0.0]]), torch.tensor([[0.0, 1.0]]), q=0.5)
    tensor([1.0000])
    """
    return (y * (1 - (softmax(logits, dim=-1) + LEAST) ** q)).sum(-1) / q


@dataclass
class GCE(Method):
    """Train with generalised cross-entropy. Costs nothing."""

    q: Fraction = 0.7  # the authors'

    def owns_loss(self) -> bool:
        return True

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return reduced(generalised(logits, batch.y, self.q), batch.y)
