"""Random weights against the numbers of Ren et al.'s code (tests/oracle/README.md)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as hard_cross_entropy
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part, cross_entropy
from trainables.methods.random_weights import RandomWeights

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "random_weights.npz"))
Z = ORACLE["z"]
K = 3
LABEL = torch.arange(Z.shape[1]) % K

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


class Given:
    """A run whose draws are the given ones."""

    def __init__(self, z: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "randn", lambda count, generator: z)

    def stream(self, name: str) -> None:
        assert name == "random-weights"


def weighted(row: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Our target rows for a row of draws."""
    y, index = one_hot(LABEL, K).to(dtype), torch.arange(len(LABEL))
    run: Any = Given(torch.from_numpy(Z[row]).to(dtype), monkeypatch)
    return RandomWeights().batch(Batch(y, y, LABEL, index, (Part(index, LABEL, 1.0),)), run).y


@pytest.mark.parametrize("row", range(len(Z)))
def test_weights(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mass = weighted(row, torch.float64, monkeypatch).sum(-1)
    total = mass.sum()
    close(mass / (total if total > 0 else 1), ORACLE["w_mnist"][row])
    close(mass / total, ORACLE["w_cifar"][row])  # NaN in both where nothing is positive
    mass32 = weighted(row, torch.float32, monkeypatch).sum(-1)
    total32 = mass32.sum()
    given32 = ORACLE["w_mnist_f32"][row]
    np.testing.assert_allclose(mass32 / (total32 if total32 > 0 else 1), given32, 1e-4, 1e-6)


@pytest.mark.parametrize("row", range(len(Z)))
def test_the_loss_is_their_weighted_sum(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(len(LABEL), K, generator=torch.Generator().manual_seed(1)).double()
    each = hard_cross_entropy(logits, LABEL, reduction="none")
    y = weighted(row, torch.float64, monkeypatch)
    close(cross_entropy(logits, y), (torch.from_numpy(ORACLE["w_mnist"][row]) * each).sum())
