"""ELR: early-learning regularisation, which holds predictions to their own running average.

Each example keeps an average t of what the network predicted for it. Before wrong labels are
memorised, t points to the right class; a term log(1 - <t, p>) keeps the network there.

Source: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS
2020, arXiv 2007.00151; as in the code of stochastic resetting, whose training loop makes the loss
anew in each step, so that its memory is always empty. Here the memory lives.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from trainables.bounds import Below1, NonNegative
from trainables.data.batch import Batch, reduced
from trainables.methods.base import Method, Run

LEAST = 1e-4  # probabilities are cut to [1e-4, 1 - 1e-4], where they pass no gradient


def held(logits: Tensor) -> Tensor:
    """(B, K) probabilities as the memory takes them: cut, then normalised again.

    >>> held(torch.tensor([[0.0, 100.0]]))
    tensor([[1.0000e-04, 9.9990e-01]])
    """
    p = softmax(logits, dim=-1).clamp(LEAST, 1 - LEAST)
    return p / p.sum(-1, keepdim=True)


def regularised(logits: Tensor, y: Tensor, target: Tensor, strength: float) -> Tensor:
    """Weighted CE + strength log(1 - <target, p>) of each example, in nats.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight.
        target: (B, K) averages, of non-negative entries that sum to at most 1.
        strength: the authors' lambda.

    Returns:
        (..., B).

    >>> args = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> regularised(*args, strength=1.0)  # log 2 - log 2
    tensor([0.])
    """
    p = softmax(logits, dim=-1).clamp(LEAST, 1 - LEAST)
    agreed = torch.log(1 - (target * p).sum(-1))
    return y.sum(-1) * strength * agreed - (y * log_softmax(logits, dim=-1)).sum(-1)


@dataclass
class ELR(Method):
    """Hold predictions to their running average. Costs K numbers per example."""

    lambda_: NonNegative = 3.0  # the authors' for CIFAR-10; 7 for CIFAR-100
    beta: Below1 = 0.7  # share of the average that stays; 0.9 for CIFAR-100
    null: ClassVar = {"lambda": 0.0}
    follows_model: ClassVar = True

    def owns_loss(self) -> bool:
        return True

    def memory(self, size: int, classes: int) -> int:
        return 4 * size * classes

    def start(self, run: Run) -> None:
        self.labels = run.labels
        self.target = torch.zeros(run.size, run.classes, device=run.device)

    def logits(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        weak = logits if logits.dim() == 2 else logits[0]
        # the network's own, before anything follows a wrong label in its place
        self._now = held(weak.detach())
        return logits

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        # this step's prediction is in the average before it is used; step writes it down
        before = torch.zeros_like(self._now)
        for part in batch.parts:
            before += part.share * self.target[part.index]
        target = self.beta * before + (1 - self.beta) * self._now
        return reduced(regularised(logits, batch.y, target, self.lambda_), batch.y)

    def step(self, batch: Batch, run: Run) -> None:
        moves = [part.share * (self._now - self.target[part.index]) for part in batch.parts]
        for part, move in zip(batch.parts, moves, strict=True):
            self.target.index_add_(0, part.index, move, alpha=1 - self.beta)

    def suspicion(self) -> Tensor:
        """How little the average gives the label; before its first visit an example counts as 0."""
        given = self.target.gather(1, self.labels[:, None])[:, 0]
        return self.target.sum(1) - given

    def rows(self) -> dict[str, Tensor]:
        return {"corrected": (self.target.argmax(1) != self.labels).float()}

    def state_dict(self) -> dict[str, Any]:
        return {"target": self.target}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.target.copy_(state["target"])
