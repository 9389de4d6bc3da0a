"""mixup against its authors' own numbers (tests/oracle/README.md)."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import linear, one_hot

from trainables.data.batch import Batch, Part, cross_entropy
from trainables.methods.mixup import Mixup, mixed

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "mixup.npz"))
CASES = sorted({key.split("__")[0] for key in ORACLE if "__" in key})

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


def mixture(case: str) -> Batch:
    """Our batch, mixed with their coefficient and partners."""
    label = torch.from_numpy(ORACLE["labels"])
    index = torch.arange(len(label))
    y = one_hot(label, len(ORACLE["b"])).double()
    batch = Batch(torch.from_numpy(ORACLE["x"]), y, label, index, (Part(index, label, 1.0),))
    alpha, lam = float(ORACLE[f"{case}__alpha"]), float(ORACLE[f"{case}__lam"])
    if alpha == 0:  # lam is 1 whatever is drawn
        run: Any = SimpleNamespace(stream=lambda name: torch.Generator())
        return Mixup(alpha).batch(batch, run)
    return mixed(batch, lam, torch.from_numpy(ORACLE[f"{case}__perm"]))


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_of_a_linear_model(case: str) -> None:
    theirs = {key.split("__")[1]: v for key, v in ORACLE.items() if key.startswith(f"{case}__")}
    batch = mixture(case)
    weight = torch.from_numpy(ORACLE["W"]).requires_grad_()
    bias = torch.from_numpy(ORACLE["b"]).requires_grad_()
    logits = linear(batch.x.flatten(1), weight, bias)
    loss = cross_entropy(logits, batch.y)
    of_logits, of_weight, of_bias = torch.autograd.grad(loss, (logits, weight, bias))
    close(batch.x, theirs["x_mixed"])
    close(logits.detach(), theirs["logits"])
    close(loss.detach(), theirs["loss"])
    close(of_logits, theirs["dlogits"])
    close(of_weight, theirs["dW"])
    close(of_bias, theirs["db"])


@pytest.mark.parametrize("case", CASES)
def test_parts_name_both_partners(case: str) -> None:
    batch = mixture(case)
    lam, labels = float(ORACLE[f"{case}__lam"]), ORACLE["labels"]
    first, *others = batch.parts
    np.testing.assert_array_equal(labels[first.index], ORACLE[f"{case}__y_a"])
    assert first.share == lam
    for second in others:
        np.testing.assert_array_equal(labels[second.index], ORACLE[f"{case}__y_b"])
        assert second.share == 1 - lam
    assert len(others) == (float(ORACLE[f"{case}__alpha"]) > 0)
