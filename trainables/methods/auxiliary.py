"""AUX: auxiliary variables of each example that take up what its label gets wrong.

Example i has b_i, one number per class, 0 at the start. The loss sees f + lambda b_i in place of
the logits f, and b_i is trained with the network; evaluation sees f alone. A larger lambda lets b
take up more, so that the network learns less. b moves by lambda x its learning rate, so that only
lambda sqrt(ratio) matters: search lambda.

Source: Hu, Li, Yu, "Simple and Effective Regularization Methods for Training on Noisy Labeled Data
with Generalization Guarantee", ICLR 2020, arXiv 1905.11368, section 3. On a linear model with the
squared loss the network ends at ridge regression of strength lambda^2 ratio (1 - m) where the
optimizer has momentum m: b has none, since examples outside the batch must rest. Its steps are
plain SGD's also beside Adam, at Adam's small learning rate: there it hardly acts unless `ratio`
makes up for that. The theory is of the squared loss (`fit: mse`); the report on CDR + AUX does not
say which loss it used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from trainables.bounds import NonNegative, Positive
from trainables.data.batch import TINY, Batch, reduced
from trainables.methods.base import Method, Run


def squared(logits: Tensor, y: Tensor) -> Tensor:
    """Weighted half squared distance of logits and target of each example.

    Args:
        logits: (..., B, K).
        y: (B, K) rows that sum to each example's weight; of unit weight they are the target.

    Returns:
        (..., B).

    >>> squared(torch.tensor([[0.5, 1.0], [0.5, 1.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    tensor([0.6250, 1.2500])
    """
    weight = y.sum(-1, keepdim=True)
    return (weight * (logits - y / weight.clamp(min=TINY)).square()).sum(-1) / 2


def own(gradient: Tensor, y: Tensor) -> Tensor:
    """Each example's share of the gradient of an unweighted mean, from that of a weighted loss.

    Variables of examples that count little must follow their labels none the less. An example of
    weight 0 is not in the batch: its share is 0.

    Args:
        gradient: (B, K) of a loss divided by the batch's weight.
        y: (B, K) rows that sum to each example's weight.

    >>> own(torch.tensor([[0.5], [0.5]]), torch.tensor([[3.0], [1.0]]))  # of sums over 4
    tensor([[0.3333],
            [1.0000]])
    """
    weight = y.sum(-1, keepdim=True)
    return gradient * (weight.sum() / (len(y) * weight.clamp(min=TINY)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "rise": lambda progress: progress,
    "fall": lambda progress: 1 - progress,
}


@dataclass
class Aux(Method):
    """Auxiliary variables beside the network. Costs K numbers per example and next to no time."""

    lambda_: NonNegative = 1.0  # ours; the sources tuned it by hand and do not tell
    schedule: Literal["constant", "rise", "fall"] = "constant"  # of lambda: linear, from or to 0
    ratio: Positive = 1.0  # learning rate of b over the network's, which it follows
    fit: Literal["ce", "mse"] = "ce"  # ce leaves the loss to the chain
    null: ClassVar = {"lambda": 0.0}
    clash: ClassVar = {"sop-plus": "its terms without weights would move b without bounds"}
    redundant: ClassVar = frozenset({"sop"})
    follows_model: ClassVar = True

    def owns_loss(self) -> bool:
        return self.fit == "mse"

    def memory(self, size: int, classes: int) -> int:
        return size * (4 * classes + 1)

    def start(self, run: Run) -> None:
        self.b = torch.zeros(run.size, run.classes, device=run.device)
        self.fitted = torch.zeros(run.size, dtype=torch.bool, device=run.device)  # by f + lambda b
        self._scale = self.lambda_  # of the running step

    def logits(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        self._scale = self.lambda_ * SCHEDULES[self.schedule](run.step / run.steps)
        shift = torch.zeros_like(logits)
        for part in batch.parts:
            shift += part.share * self.b[part.index]
        self._shift = torch.mul(shift, self._scale).requires_grad_()
        corrected = logits + self._shift
        hits = corrected.detach().argmax(-1) == batch.label
        self.fitted.index_copy_(0, batch.index, hits)
        return corrected

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return reduced(squared(logits, batch.y), batch.y)

    def step(self, batch: Batch, run: Run) -> None:
        assert self._shift.grad is not None
        move = own(self._shift.grad, batch.y)
        for part in batch.parts:
            rate = run.lr * self.ratio * self._scale * part.share
            self.b.index_add_(0, part.index, move, alpha=-rate)

    def metrics(self) -> dict[str, float]:
        return {"acc": float(self.fitted.float().mean())}  # with b; train/acc is without

    def suspicion(self) -> Tensor:
        return self.b.square().sum(1).sqrt()

    def rows(self) -> dict[str, Tensor]:
        return {"shift": self._scale * self.suspicion(), "fitted": self.fitted.float()}

    def state_dict(self) -> dict[str, Any]:
        return {"b": self.b, "fitted": self.fitted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.b.copy_(state["b"])
        self.fitted.copy_(state["fitted"])
