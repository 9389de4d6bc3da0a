"""One mini-batch, and the one loss convention every method meets in."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import log_softmax

TINY = 1e-30  # below every weight that counts: a batch without mass divides 0 by this


@dataclass(frozen=True)
class Batch:
    """A mini-batch.

    Attributes:
        x: (B, C, H, W) images in [0, 1].
        y: (B, K) target rows; a row sums to that example's weight.
        label: (B,) the given class.
        index: (B,) positions in the training split.
        parts: the (index, coefficient) pairs each example is mixed from; coefficients sum to 1.
    """

    x: Tensor
    y: Tensor
    label: Tensor
    index: Tensor
    parts: tuple[tuple[Tensor, float], ...]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Weighted soft-target cross-entropy: what y asks for, divided by the weight in y.

    Scaling y by a constant leaves it unchanged; a batch of no weight costs nothing.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight, at least 0.

    Returns:
        () nats, averaged over leading dimensions.

    >>> import torch
    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 100.0]])
    >>> cross_entropy(logits, torch.tensor([[3.0, 0.0], [0.0, 1.0]]))  # 3/4 of log 2
    tensor(0.5199)
    """
    each = (y * log_softmax(logits, dim=-1)).sum((-2, -1))
    if each.dim():
        each = each.mean()
    return each / -y.sum().clamp(min=TINY)
