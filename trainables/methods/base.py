"""What a training method is, and what it may see of the run it takes part in."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from trainables.data.batch import Batch


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

    @property
    def epoch(self) -> int:
        """Index from 0 of the running epoch."""
        ...

    def stream(self, name: str, device: str = "cpu") -> torch.Generator:
        """A generator seeded by (trial seed, step, name); the same object within one step."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images x (B, C, H, W) in [0, 1]; normalises first."""
        ...

    def view(self, index: Tensor) -> Tensor:
        """A fresh augmented view (B, C, H, W) in [0, 1] of the training rows `index` (B,)."""
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

    clash: ClassVar[frozenset[str]] = frozenset()  # names it cannot run with
    null: ClassVar[Mapping[str, Any] | None] = None  # settings that make it equal plain training
    follows_model: ClassVar[bool] = False  # a reset takes its state back with the model

    def start(self, run: Run) -> None:
        """Allocate memory, once, on `run.device`."""

    def batch(self, batch: Batch, run: Run) -> Batch:
        """Change what is trained on: images, target rows, weights."""
        return batch

    def step(self, batch: Batch, run: Run) -> None:
        """After each optimizer step."""

    def epoch(self, run: Run) -> None:
        """After each epoch's validation; may not touch the model or what follows it."""

    def metrics(self) -> dict[str, float]:
        """Numbers worth plotting, by short name."""
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
