"""mixup: train on blends of two images and of their targets.

Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412; as in the
authors' code one coefficient per batch, partners by a permutation inside the batch. The blended
target rows carry the weights of both partners, so that with Multiplicative Reweighting the loss is
the one its authors write.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.bounds import NonNegative
from trainables.data.batch import Batch, Part
from trainables.methods.base import Method, Run

VIEWED = 5  # axes of (V, B, C, H, W)


def mixed(batch: Batch, coefficient: float, partner: Tensor) -> Batch:
    """Blend every example with its partner, every view of it alike.

    Args:
        batch: b examples.
        coefficient: share of the example itself, in [0, 1].
        partner: (b,) a permutation of the batch's positions.
    """
    other = 1 - coefficient
    rows = 1 if batch.x.dim() == VIEWED else 0  # after the views, where there are several
    return replace(
        batch,
        x=coefficient * batch.x + other * batch.x.index_select(rows, partner),
        y=coefficient * batch.y + other * batch.y[partner],
        parts=tuple(Part(part.index, part.label, coefficient * part.share) for part in batch.parts)
        + tuple(
            Part(part.index[partner], part.label[partner], other * part.share)
            for part in batch.parts
        ),
    )


@dataclass
class Mixup(Method):
    """Blend each batch with a permutation of itself. Costs next to nothing."""

    alpha: NonNegative = (
        1.0  # of Beta(alpha, alpha); the authors' CIFAR-10 setting; 0 mixes nothing
    )
    null: ClassVar = {"alpha": 0.0}

    def batch(self, batch: Batch, run: Run) -> Batch:
        if self.alpha == 0:
            return batch
        stream = run.stream("mixup")
        # torch's Beta takes no generator
        beta = np.random.default_rng(stream.initial_seed()).beta(self.alpha, self.alpha)
        partner = torch.randperm(len(batch.index), generator=stream).to(
            batch.x.device, non_blocking=True
        )
        return mixed(batch, float(beta), partner)
