"""GCE, SCE, MAE and ELR against the code of stochastic resetting (tests/oracle/README.md)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part
from trainables.methods.base import Method
from trainables.methods.elr import ELR
from trainables.methods.gce import GCE, generalised
from trainables.methods.mae import MAE, absolute_error
from trainables.methods.sce import SCE, symmetric

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "losses.npz"))
LOGITS, LABELS = (torch.from_numpy(ORACLE[key]) for key in ("logits", "labels"))
K = LOGITS.shape[1]
CLOSE = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
ROUGH = partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-8)  # a constant of theirs is float32


@dataclass(frozen=True)
class Case:
    """A loss of theirs.

    Attributes:
        method: ours.
        each: ours of each example, from logits and target rows.
        close: how near.
        keys: suffixes of theirs: of each example, mean, gradient of the mean.
    """

    method: Method
    each: Callable[[Tensor, Tensor], Tensor] | None = None
    close: Any = field(default=CLOSE)
    keys: tuple[str, ...] = ("values", "mean", "grad")


CE = Method()  # a method that owns no loss has cross-entropy
TRAINED = ("loss", "grad")  # through their training loop
EACH = ("each", "mean", "grad")
CASES = {
    "ce": Case(CE, partial(symmetric, alpha=1.0, beta=0.0)),
    "mae": Case(MAE(), absolute_error),
    "gce_q0p7": Case(GCE(0.7), partial(generalised, q=0.7)),
    "gce_q0p3": Case(GCE(0.3), partial(generalised, q=0.3)),
    "sce_a0p1_b1p0": Case(SCE(0.1, 1.0), partial(symmetric, alpha=0.1, beta=1.0), ROUGH, EACH),
    "sce_a6p0_b0p1": Case(SCE(6.0, 0.1), partial(symmetric, alpha=6.0, beta=0.1), ROUGH, EACH),
    "train_ce_cifar10": Case(CE, keys=TRAINED),
    "train_mae_cifar10": Case(MAE(), keys=TRAINED),
    "train_gce_cifar10": Case(GCE(), keys=TRAINED),
    "train_sce_cifar10": Case(SCE(), close=ROUGH, keys=TRAINED),
    # theirs take CIFAR-10's coefficients, by a test for a part of the name
    "train_sce_cifar100": Case(SCE(), close=ROUGH, keys=TRAINED),
}
MEMORIES = {"elr_l3_b0p7_memory": ELR(3.0, 0.7), "elr_l7_b0p9_memory": ELR(7.0, 0.9)}
# a loss made anew in each step: its memory is always empty
FORGETFUL = {
    "train_elr_cifar10": ELR(),
    "train_elr_cifar100": ELR(7.0, 0.9),
    "train_elr100_cifar10": ELR(),
    "train_elr100_cifar100": ELR(7.0, 0.9),
}
LEFT_OUT = ("tgce_ordinary", "train_tgce_ordinary")  # truncated GCE is not ours
GIVEN = {"logits", "labels", "n_ordinary", "elr_index", "elr_logits", "elr_labels_by_sample"}


def batch_of(label: Tensor, index: Tensor) -> Batch:
    y = one_hot(label, K).double()
    return Batch(y, y, label, index, (Part(index, label, 1.0),))


def lost(method: Method, logits: Tensor, batch: Batch, run: Any) -> tuple[Tensor, Tensor]:
    """Loss and its gradient by the logits."""
    logits = logits.clone().requires_grad_()
    loss = method.loss(method.logits(logits, batch, run), batch, run)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def test_every_case_is_compared() -> None:
    cases = (*CASES, *MEMORIES, *FORGETFUL, *LEFT_OUT)
    owned = {key for key in ORACLE if any(key.startswith(f"{case}_") for case in cases)}
    assert set(ORACLE) == owned | GIVEN


@pytest.mark.parametrize("case", CASES)
def test_losses_of_ordinary_and_extreme_logits(case: str) -> None:
    ours, batch = CASES[case], batch_of(LABELS, torch.arange(len(LABELS)))
    *values, mean, gradient = (ORACLE[f"{case}_{key}"] for key in ours.keys)
    assert len(values) == (ours.each is not None)
    for each in values:
        assert ours.each is not None
        ours.close(ours.each(LOGITS, batch.y), each)
    loss, slope = lost(ours.method, LOGITS, batch, None)
    ours.close(loss, mean)
    ours.close(slope, gradient)


def course(method: ELR, case: str, forget: bool) -> list[Tensor]:
    """Their eight steps; gives the memory after each."""
    labels = torch.from_numpy(ORACLE["elr_labels_by_sample"])
    run: Any = SimpleNamespace(
        size=len(labels), classes=K, labels=labels, device=torch.device("cpu")
    )
    memories = []
    for step, (rows, logits) in enumerate(
        zip(ORACLE["elr_index"], ORACLE["elr_logits"], strict=True)
    ):
        if forget or step == 0:
            method.start(run)
            method.target = method.target.double()
        index = torch.from_numpy(rows)
        batch = batch_of(labels[index], index)
        loss, gradient = lost(method, torch.from_numpy(logits), batch, run)
        CLOSE(loss, ORACLE[f"{case}_loss"][step])
        CLOSE(gradient, ORACLE[f"{case}_grad"][step])
        method.step(batch, run)
        memories.append(method.target.clone())
    return memories


@pytest.mark.parametrize("case", MEMORIES)
def test_elr_with_a_memory_that_lives(case: str) -> None:
    memories = course(MEMORIES[case], case, forget=False)
    for ours, theirs in zip(memories, ORACLE[f"{case}_target_after"], strict=True):
        CLOSE(ours, theirs)


@pytest.mark.parametrize("case", FORGETFUL)
def test_elr_as_their_training_loop_has_it(case: str) -> None:
    course(FORGETFUL[case], case, forget=True)
