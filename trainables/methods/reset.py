"""Stochastic resetting: once validation stops improving, go back to the best state now and then.

The model is validated every `every` epochs; each strict improvement is kept. When nothing has
improved for `patience`, resetting becomes active, for good: from then on each step returns, with
probability r, to the kept state.

Source: the code of Bae et al., "Stochastic Resetting Mitigates Latent Gradient Bias of SGD from
Label Noise", arXiv 2406.00396 (repository qodudrud/stochastic-resetting). Its authors choose on the
test images; here the noisy validation split decides. Their learning rate falls back with the
optimizer (`lr_on_reset: checkpoint`); by default ours goes on along its schedule. They validate
every 10 steps: `every` = 10 / steps per epoch.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from trainables.bounds import Positive, Unit
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run, steps_of


def activates(done: int, improved: int, warmup: int, patience: int, every: int) -> bool:
    """Whether resetting starts at a validation that did not end an earlier wait.

    All arguments are steps. With K = ceil(patience / every), it starts (K-1) every steps after the
    last improvement or after the first validation from `warmup` on, whichever is later, and only
    after `warmup`. A patience of 0 never ends.

    Args:
        done: now.
        improved: of the last improvement.
        warmup: before which no wait is counted.
        patience: asked for.
        every: between validations.

    >>> [activates(done, improved=20, warmup=0, patience=30, every=10) for done in (30, 40, 50)]
    [False, True, True]
    """
    wait = (-(-patience // every) - 1) * every
    since = max(improved, -(-warmup // every) * every)
    return patience > 0 and done > warmup and done - since >= wait


@dataclass
class Reset(Method):
    """Return to the best state with probability r per step. Costs extra validations and saves."""

    r: Unit = 1e-3  # per step; the authors' README
    patience: Unit = 0.1  # share of the training without improvement
    warmup: Unit = 0.0  # share of the training before any wait counts
    adaptive: bool = True  # a better state found later becomes the new target
    opt_reset: bool = True  # the optimizer's momentum goes back too
    lr_on_reset: Literal["continue", "checkpoint"] = "continue"
    restore_rows: bool = True  # memories that follow the model go back too
    best: Literal["loss", "acc"] = "loss"
    every: Positive = 0.5  # epochs between validations
    null: ClassVar = {"r": 0.0}

    def start(self, run: Run) -> None:
        self.active = False
        self.value = float("-inf")  # of the kept state; higher is better
        self.improved = 0  # steps done at the last improvement
        self.count = 0  # resets so far

    def step(self, batch: Batch, run: Run) -> None:
        done = run.step + 1
        if self.active and self.draw(run) < self.r:
            self.count += 1
            run.back(
                optimizer=self.opt_reset,
                memories=self.restore_rows,
                lr=self.lr_on_reset == "checkpoint",
            )
        every = steps_of(self.every, run)
        if done % every:
            return
        score = run.validate()
        value = score.acc if self.best == "acc" else -score.loss
        if value > self.value:
            self.value, self.improved = value, done
            if self.adaptive or not self.active:
                run.keep()
        warmup, patience = round(self.warmup * run.steps), round(self.patience * run.steps)
        # without one finite validation there is nothing to return to
        if math.isfinite(self.value) and activates(done, self.improved, warmup, patience, every):
            self.active = True

    def draw(self, run: Run) -> float:
        """One uniform number in [0, 1) per step."""
        return float(torch.rand((), generator=run.stream("reset")))

    def metrics(self) -> dict[str, float]:
        return {"count": float(self.count), "active": float(self.active)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "active": self.active,
            "value": self.value,
            "improved": self.improved,
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.active = state["active"]
        self.value = state["value"]
        self.improved = state["improved"]
        self.count = state["count"]
