"""Label smoothing in both conventions against other people's numbers (tests/oracle/README.md)."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax, one_hot

from trainables.data.batch import cross_entropy
from trainables.methods.smooth import smoothed

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "smooth.npz"))
SPREADS = {"mr": "others", "torch": "all"}
RATES = ["0", "0.05", "0.1", "0.3"]

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prefix", ["", "weighted_"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("code", SPREADS)
def test_losses_and_gradients(code: str, rate: str, prefix: str) -> None:
    if code == "torch" and prefix:
        weight = torch.full((len(ORACLE["labels"]),), 7.0, dtype=torch.float64)
        expected = f"{code}_{rate}__"  # equal weights change nothing
    elif prefix:
        weight, expected = torch.from_numpy(ORACLE["weights"]), f"{code}_{rate}__weighted_"
    else:
        weight = torch.ones(len(ORACLE["labels"]), dtype=torch.float64)
        expected = f"{code}_{rate}__"
    logits = torch.from_numpy(ORACLE["logits"]).requires_grad_()
    hard = one_hot(torch.from_numpy(ORACLE["labels"]), logits.shape[1]).double()
    y = smoothed(hard * weight[:, None], float(rate), SPREADS[code])
    loss = cross_entropy(logits, y)
    (gradient,) = torch.autograd.grad(loss, logits)
    close(loss.detach(), ORACLE[f"{expected}loss"])
    close(gradient, ORACLE[f"{expected}dlogits"])
    if "weighted" in expected or not prefix:
        each = -(y * log_softmax(logits.detach(), -1)).sum(-1)
        close(each, ORACLE[f"{expected}per_sample"])


@pytest.mark.parametrize("rate", RATES)
def test_target_rows(rate: str) -> None:
    target = ORACLE[f"mr_{rate}__target"]
    hard = one_hot(torch.from_numpy(ORACLE["labels"]), target.shape[1]).double()
    close(smoothed(hard, float(rate), "others"), target)
