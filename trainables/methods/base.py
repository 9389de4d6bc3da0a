"""What a training method is, and what it may see of the run it takes part in."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from trainables.data.batch import Batch, cross_entropy


class Score(NamedTuple):
    """How the model does on the noisy validation split."""

    loss: float  # mean cross-entropy, nats
    acc: float  # share of rows whose given label is predicted


class Run(Protocol):
    """The running trial as methods see it; `trainables.loop.Loop` satisfies it."""

    device: torch.device
    model: nn.Module
    optimizer: torch.optim.Optimizer
    size: int  # N, training examples
    classes: int  # K
    epochs: int
    steps: int  # of the whole training
    steps_per_epoch: int
    step: int  # index from 0 of the running one
    lr: float  # of the running step
    decay: float  # the task's weight decay, whoever applies it
    labels: Tensor  # (N,) given classes

    @property
    def epoch(self) -> int:
        """Index from 0 of the running epoch."""
        ...

    def stream(self, name: str, device: str = "cpu") -> torch.Generator:
        """A generator seeded by (trial seed, step, name); the same object within one step."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., B, K) of images x (..., B, C, H, W) in [0, 1]; normalises first."""
        ...

    def view(self, index: Tensor, strong: bool = False) -> Tensor:
        """A fresh augmented view (B, C, H, W) in [0, 1] of the training rows `index` (B,).

        Args:
            index: which rows.
            strong: moved as the source's strong view says, whether or not the task augments.
        """
        ...

    def losses(self, mode: str = "eval") -> Tensor:
        """(N,) cross-entropies to the given labels, nats, without gradient.

        `eval`: no augmentation, evaluation mode. `train`: augmented, batch statistics; the running
        statistics are put back afterwards. Neither changes any state.
        """
        ...

    def validate(self) -> Score:
        """Score the model as it is now on the validation split."""
        ...

    def keep(self) -> None:
        """Remember the state at the end of this step (after all `step` hooks); ends the report."""
        ...

    def back(self, *, optimizer: bool = True, memories: bool = True, lr: bool = False) -> None:
        """Return the model to the kept state.

        Args:
            optimizer: its buffers too.
            memories: the state of methods that follow the model too.
            lr: go on from the kept learning rate, instead of from the schedule's.
        """
        ...


class Method:
    """A training method: hooks around one loop, every one of them optional.

    A method is a plain dataclass whose fields, typed with `trainables.bounds`, are its
    hyperparameters. It holds no data until `start`.
    """

    clash: ClassVar[Mapping[str, str]] = {}  # names it cannot run with, and why
    redundant: ClassVar[frozenset[str]] = frozenset()  # names that do the same work as it
    null: ClassVar[Mapping[str, Any] | None] = None  # settings that make it equal plain training
    follows_model: ClassVar[bool] = False  # a reset takes its state back with the model
    needs_trusted: ClassVar[bool] = False  # it cannot run on a task without `split.trusted`

    def owns_loss(self) -> bool:
        """Whether `loss` stands in for cross-entropy; one method of a chain may."""
        return False

    def owns_decay(self) -> bool:
        """Whether it replaces the optimizer's weight decay; one method of a chain may."""
        return False

    def memory(self, size: int, classes: int) -> int:
        """Bytes it holds for `size` training examples of `classes` classes."""
        return 0

    def start(self, run: Run) -> None:
        """Allocate memory, once, on `run.device`."""

    def batch(self, batch: Batch, run: Run) -> Batch:
        """Change what is trained on: images, target rows, weights."""
        return batch

    def logits(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        """Change the logits (..., B, K) that the loss sees; evaluation never does."""
        return logits

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        """The batch's loss, (), of its owner; weights and reduction as in `cross_entropy`."""
        return cross_entropy(logits, batch.y)

    def penalty(self, run: Run) -> Tensor | None:
        """A term, (), that looks at parameters only; None for none. Its gradient joins theirs."""
        return None

    def grads(self, batch: Batch, run: Run) -> None:
        """Edit the parameters' `grad` in place, before the optimizer's step."""

    def step(self, batch: Batch, run: Run) -> None:
        """After each optimizer step."""

    def epoch(self, run: Run) -> None:
        """After each epoch's validation; may not touch the model or what follows it."""

    def metrics(self) -> dict[str, float]:
        """Numbers worth plotting, by short name."""
        return {}

    def suspicion(self) -> Tensor | None:
        """(N,) how much it distrusts each given label, more being worse; None if it has no view."""
        return None

    def rows(self) -> dict[str, Tensor]:
        """(N,) numbers by short name, whose means over right and wrong labels are worth plotting.

        Where the truth is known the run takes these means; a method never sees it.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything the config cannot rebuild: tensors, numbers and containers of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state, by copying into what `start` allocated."""


def steps_of(share: float, run: Run) -> int:
    """Steps in a share of an epoch, at least one.

    >>> from types import SimpleNamespace as Fake
    >>> [steps_of(share, Fake(steps_per_epoch=33)) for share in (0.001, 0.5, 2)]
    [1, 16, 66]
    """
    return max(1, round(share * run.steps_per_epoch))
