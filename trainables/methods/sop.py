"""SOP: absorb wrong labels in sparse variables of each example, beside the network.

The formulas, their source and where paper and code differ are in `overparametrization`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from trainables.bounds import NonNegative, Positive
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run
from trainables.methods.overparametrization import Overparametrization, memory


@dataclass
class SOP(Method):
    """Sparse over-parametrization. Costs K + 1 numbers per example and next to no time."""

    lr_u: NonNegative = 10.0  # step of u, quoted at batch 128; the authors' for CIFAR-10
    lr_v: NonNegative = 10.0  # step of v, likewise
    init: Positive = 1e-8  # deviation of the first u and v; at 0 they would never move
    project: bool = True  # u and v stay in [-1, 1], as in the paper; false: as in the code
    follows_model: ClassVar = True

    def owns_loss(self) -> bool:
        return True

    def memory(self, size: int, classes: int) -> int:
        return memory(size, classes)

    def start(self, run: Run) -> None:
        self.variables = Overparametrization(self, run)

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return self.variables.loss(logits, batch)

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
