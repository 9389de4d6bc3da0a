"""The losses that stand in for cross-entropy: where they meet it and each other, and their ends."""

from typing import Any

import pytest
import torch
from standins import batch_of, logits_of, run_of, stepped
from torch import Tensor
from toys import tiny

from trainables.data.batch import cross_entropy
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method
from trainables.methods.gce import GCE, generalised
from trainables.methods.mae import absolute_error
from trainables.methods.mixup import mixed
from trainables.methods.sce import symmetric

OWNERS = [name for name, method in METHODS.items() if method().owns_loss()]
OURS = ["gce", "sce", "mae", "elr"]  # what SOP does to weights and views: test_sop*.py


def made(name: str, run: Any) -> Method:
    method = METHODS[name]()
    method.start(run)
    return method


# By hand: probabilities 3/4, 1/8, 1/8


@pytest.fixture
def logits() -> Tensor:
    return torch.tensor([[6.0, 1.0, 1.0]]).log()


@pytest.mark.parametrize(
    ("label", "expected"), [(0, 2 * (1 - 0.75**0.5)), (1, 2 * (1 - 0.125**0.5))]
)
def test_gce_by_hand(logits: Tensor, label: int, expected: float) -> None:
    y = torch.eye(3)[[label]]
    assert float(generalised(logits, y, q=0.5)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("label", "nats", "others"), [(0, 0.2876821, 0.25), (1, 2.0794415, 0.875)])
def test_sce_by_hand(logits: Tensor, label: int, nats: float, others: float) -> None:
    y = torch.eye(3)[[label]]
    expected = 2 * nats + 3 * others * 9.2103404  # -log 1e-4
    assert float(symmetric(logits, y, alpha=2, beta=3)) == pytest.approx(expected, rel=1e-5)


def test_mae_by_hand(logits: Tensor) -> None:
    assert float(absolute_error(logits, torch.eye(3)[[0]])) == pytest.approx(0.5)
    assert float(absolute_error(logits, torch.eye(3)[[2]])) == pytest.approx(1.75)
    # the distance of the two vectors, in the sum of absolute values
    p = torch.tensor([0.75, 0.125, 0.125])
    apart = (p - torch.tensor([0.0, 0.0, 1.0])).abs().sum()
    assert float(absolute_error(logits, torch.eye(3)[[2]])) == pytest.approx(float(apart))


def test_gce_lies_between_cross_entropy_and_absolute_error() -> None:
    logits, y = logits_of(5).double(), batch_of([0, 1, 2, 3, 4]).y.double()
    nats = -(y * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(generalised(logits, y, 1e-6), nats, rtol=1e-4, atol=1e-4)
    half = absolute_error(logits, y) / 2
    torch.testing.assert_close(generalised(logits, y, 1.0), half, rtol=0, atol=1e-6)
    middle = generalised(logits, y, 0.5)
    assert ((half < middle) & (middle < nats)).all()


@pytest.mark.parametrize("wrong", [20.0, 100.0, 700.0])
def test_how_much_a_hopeless_label_still_pulls(wrong: float) -> None:
    """Bounded losses let go of it; SCE keeps alpha of cross-entropy's pull."""
    pulls = {}
    for name in ("gce", "sce", "mae"):
        logits = torch.tensor([[0.0, wrong, 0.0]])
        slope = stepped(made(name, run_of()), logits, batch_of([0]), run_of())[1]
        assert slope.isfinite().all()
        pulls[name] = float(slope[0, 0])
    assert pulls["mae"] == pytest.approx(0, abs=1e-7)
    assert pulls["gce"] == pytest.approx(0, abs=1e-4)
    assert pulls["sce"] == pytest.approx(-0.1, abs=1e-5)


def test_gce_of_a_probability_of_nothing_is_finite() -> None:
    logits = torch.tensor([[-1000.0, 0.0, 0.0]], requires_grad=True)
    for q in (1.0, 0.7, 0.01):
        loss = GCE(q).loss(logits, batch_of([0]), run_of())
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert slope.isfinite().all()


# Weights, mixtures, views

WEIGHTS = [2.0, 0.0, 0.5, 1.0]


def views(rows: int, seed: int = 0) -> Tensor:
    """(2, rows, K), as some methods ask for two."""
    return torch.stack((logits_of(rows, seed), logits_of(rows, seed + 100)))


@pytest.mark.parametrize("name", OURS)
def test_one_alone_counts_whatever_it_weighs(name: str) -> None:
    found = []
    for weight in (1.0, 1e-6, 1e6):
        run = run_of()
        found.append(stepped(made(name, run), views(1), batch_of([3], [weight]), run))
    for loss, slope in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(slope, found[0][1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OURS)
def test_examples_without_weight_are_not_seen(name: str) -> None:
    slopes = []
    for seed in (0, 1):
        run, logits = run_of(), views(4)
        logits[:, 1] = 5 * views(1, seed)[:, 0]
        loss, slope = stepped(made(name, run), logits, batch_of([0, 1, 2, 3], WEIGHTS), run)
        slopes.append((loss, slope[:, [0, 2, 3]]))
        assert not slope[:, 1].any()
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("name", OURS)
def test_a_batch_without_weight_costs_nothing(name: str) -> None:
    run = run_of()
    loss, slope = stepped(made(name, run), views(3), batch_of([0, 1, 2], [0.0] * 3), run)
    assert loss == 0
    assert not slope.any()


@pytest.mark.parametrize("name", ["gce", "sce", "mae"])
def test_a_mixed_target_costs_what_its_parts_cost(name: str) -> None:
    run = run_of()
    method, batch, logits = made(name, run), batch_of([0, 1, 2]), logits_of(3)
    partner = torch.tensor([1, 2, 0])
    both = [stepped(method, logits, one, run)[0] for one in (batch, batch_of([1, 2, 0]))]
    loss = stepped(method, logits, mixed(batch, 0.25, partner), run)[0]
    assert loss == pytest.approx(0.25 * float(both[0]) + 0.75 * float(both[1]))


@pytest.mark.parametrize("name", ["gce", "sce", "mae"])
def test_views_are_averaged(name: str) -> None:
    run, batch = run_of(), batch_of([0, 1, 2])
    method, both = made(name, run), views(3)
    each = [float(stepped(method, view, batch, run)[0]) for view in both]
    assert stepped(method, both, batch, run)[0] == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("name", OWNERS)
def test_the_loop_trains_on_the_owners_loss(name: str, data: Dataset) -> None:
    """And reports it as train/loss."""
    loop = Loop(tiny({name: {}}), data)
    owner, seen = loop.chain.methods[name], []
    assert loop.chain.owner is owner
    lost = owner.loss

    def watched(logits: Tensor, batch: Any, run: Any) -> Tensor:
        loss = lost(logits, batch, run)
        seen.append((float(loss.detach()), len(batch.index)))
        return loss

    owner.loss = watched  # type: ignore[method-assign]
    report = loop.train()
    mean = sum(loss * rows for loss, rows in seen) / 300
    assert report["train/loss"] == pytest.approx(mean, rel=1e-4)
    assert len(seen) == 10


def test_without_an_owner_it_is_cross_entropy() -> None:
    logits, batch = logits_of(4), batch_of([0, 1, 2, 3], WEIGHTS)
    loss, _ = stepped(Method(), logits, batch, run_of())
    nats = torch.nn.functional.cross_entropy(logits, batch.label, reduction="none")
    expected = float((nats * torch.tensor(WEIGHTS)).sum() / 3.5)
    assert loss == pytest.approx(expected)
    assert float(cross_entropy(logits, batch.y)) == pytest.approx(expected)
