"""MAE: mean absolute error between probabilities and label, a loss that no label dominates.

Source: Ghosh, Kumar, Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks",
AAAI 2017, arXiv 1712.09482; as in the code of stochastic resetting.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softmax

from trainables.data.batch import Batch, reduced
from trainables.methods.base import Method, Run


def absolute_error(logits: Tensor, y: Tensor) -> Tensor:
    """Weighted 2 (1 - p_y) of each example.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight.

    Returns:
        (..., B).

    >>> import torch
    >>> absolute_error(torch.tensor([[1.0986123, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.5000])
    """
    return (y * (2 - 2 * softmax(logits, dim=-1))).sum(-1)


@dataclass
class MAE(Method):
    """Train with the mean absolute error. Costs nothing, but learns slowly."""

    def owns_loss(self) -> bool:
        return True

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return reduced(absolute_error(logits, batch.y), batch.y)
