"""One mini-batch, and the one loss convention every method meets in."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import log_softmax

TINY = 1e-30  # below every weight that counts: a batch without mass divides 0 by this


@dataclass(frozen=True)
class Part:
    """One ingredient of the examples of a batch.

    Attributes:
        index: (B,) positions in the training split.
        label: (B,) their given classes.
        share: of the mixed example.
    """

    index: Tensor
    label: Tensor
    share: float


@dataclass(frozen=True)
class Batch:
    """A mini-batch.

    Attributes:
        x: (B, C, H, W) images in [0, 1]; (V, B, C, H, W) where a method asks for V views of each.
        y: (B, K) target rows; a row sums to that example's weight.
        label: (B,) the given class.
        index: (B,) positions in the training split.
        parts: what each example is mixed from; their shares sum to 1.
    """

    x: Tensor
    y: Tensor
    label: Tensor
    index: Tensor
    parts: tuple[Part, ...]


def reduced(losses: Tensor, y: Tensor) -> Tensor:
    """The loss of a batch from weighted losses: their sum, divided by the weight in y.

    Every term that knows labels ends with it, so that scaling y by a constant leaves any loss
    unchanged, and a batch of no weight teaches no label.

    Args:
        losses: (..., B), each already multiplied by its example's weight.
        y: (B, K) rows that sum to each example's weight, at least 0.

    Returns:
        () averaged over leading dimensions.

    >>> import torch
    >>> reduced(torch.tensor([3.0, 0.5]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor(0.8750)
    """
    total = losses.sum(-1)
    if total.dim():
        total = total.mean()
    return total / y.sum().clamp(min=TINY)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Weighted soft-target cross-entropy: what y asks for, divided by the weight in y.

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
    return -reduced((y * log_softmax(logits, dim=-1)).sum(-1), y)
