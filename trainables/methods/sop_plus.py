"""SOP+: SOP with a second, strong view that must agree, and with all classes equally often.

The formulas of the variables are in `overparametrization`. As in the authors' code the weak and the
strong view go through one forward pass; labels and variables meet the weak one only, and the strong
one is asked to predict what the weak one does. The balance term acts on the corrected
probabilities.

Source: Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", ICML 2022,
arXiv 2202.14026, section 4 and the authors' code.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from trainables.bounds import NonNegative, Positive
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run
from trainables.methods.overparametrization import Overparametrization, memory


def disagreement(weak: Tensor, strong: Tensor) -> Tensor:
    """Mean divergence KL(weak || strong) of two views' predictions; nats, ().

    Only the strong view learns from it.

    Args:
        weak, strong: (B, K) logits.

    >>> disagreement(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0986123, 0.0]]))  # 3 to 1
    tensor(0.1438)
    """
    wanted = log_softmax(weak.detach(), dim=-1)
    return (wanted.exp() * (wanted - log_softmax(strong, dim=-1))).sum(-1).mean()


@dataclass
class SOPPlus(Method):
    """SOP with consistency and class balance. Costs a second forward and backward pass."""

    lr_u: NonNegative = 10.0  # step of u, quoted at batch 128; the authors' for CIFAR-10
    lr_v: NonNegative = 10.0  # step of v, likewise
    consistency: NonNegative = 0.9  # weight of the views' disagreement, the authors' lambda_C
    balance: NonNegative = 0.1  # weight of the class balance, the authors' lambda_B
    init: Positive = 1e-8  # deviation of the first u and v; at 0 they would never move
    project: bool = True  # u and v stay in [-1, 1], as in the paper; false: as in the code
    follows_model: ClassVar = True

    def owns_loss(self) -> bool:
        return True

    def memory(self, size: int, classes: int) -> int:
        return memory(size, classes)

    def start(self, run: Run) -> None:
        self.variables = Overparametrization(self, run)

    def batch(self, batch: Batch, run: Run) -> Batch:
        if not self.consistency:
            return batch
        return replace(batch, x=torch.stack([batch.x, run.view(batch.index, strong=True)]))

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        if not self.consistency:
            return self.variables.loss(logits, batch, self.balance)
        weak, strong = logits
        loss = self.variables.loss(weak, batch, self.balance)
        return loss + self.consistency * disagreement(weak, strong)

    def step(self, batch: Batch, run: Run) -> None:
        self.variables.step()

    def metrics(self) -> dict[str, float]:
        return self.variables.metrics()

    def suspicion(self) -> Tensor:
        return self.variables.suspicion()

    def rows(self) -> dict[str, Tensor]:
        return self.variables.rows()

    def state_dict(self) -> dict[str, Any]:
        return self.variables.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.variables.load_state_dict(state)
