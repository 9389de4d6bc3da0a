"""SOP+: two views through one forward pass, consistency, class balance, small batches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_sop import batch_of, close, dense, drawn, logits_of, started, visited
from torch import Tensor, nn
from torch.nn.functional import softmax
from toys import tiny

from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods.sop import SOP
from trainables.methods.sop_plus import SOPPlus

# Two views, one forward pass


class Watched:
    """A loop of SOP+ and what it forwards and views in its first step."""

    def __init__(self, data: Dataset, **settings: float) -> None:
        self.loop = Loop(tiny({"sop-plus": settings}), data)
        self.forwarded: list[Tensor] = []
        self.views: list[tuple[bool, Tensor]] = []
        view = self.loop.view

        def viewed(index: Tensor, strong: bool = False) -> Tensor:
            self.views.append((strong, view(index, strong)))
            return self.views[-1][1]

        self.loop.view = viewed  # type: ignore[method-assign]
        self.loop.model.register_forward_pre_hook(lambda _, given: self.forwarded.append(given[0]))
        self.norms = [m for m in self.loop.model.modules() if isinstance(m, nn.BatchNorm2d)]
        self.seen: list[Tensor] = []
        self.norms[0].register_forward_pre_hook(lambda _, given: self.seen.append(given[0]))
        self.before = self.norms[0].running_mean.clone()  # type: ignore[union-attr]
        self.loop.advance()


def test_both_views_go_through_one_forward_pass(data: Dataset) -> None:
    watched = Watched(data)
    assert [strong for strong, _ in watched.views] == [False, True]
    (forwarded,) = watched.forwarded
    weak, strong = (watched.loop.data.normalised(view) for _, view in watched.views)
    assert torch.equal(forwarded, torch.cat([weak, strong]))
    assert not torch.equal(weak, strong)
    assert all(int(norm.num_batches_tracked) == 1 for norm in watched.norms)  # type: ignore[arg-type]
    # the statistics are those of both views together
    norm, (given,) = watched.norms[0], watched.seen
    assert norm.momentum is not None
    assert len(given) == 64
    expected = (1 - norm.momentum) * watched.before + norm.momentum * given.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected.detach())


def test_no_consistency_asks_for_no_second_view(data: Dataset) -> None:
    watched = Watched(data, consistency=0.0)
    assert [strong for strong, _ in watched.views] == [False]
    assert [len(images) for images in watched.forwarded] == [32]


def test_without_its_terms_it_is_sop(data: Dataset) -> None:
    ends = []
    off = {"consistency": 0.0, "balance": 0.0}
    for config in (tiny({"sop": {}}), tiny({"sop-plus": off})):
        loop = Loop(config, data)
        for _ in range(4):
            loop.advance()
        variables = next(iter(loop.chain.methods.values())).variables  # type: ignore[attr-defined]
        ends.append([*loop.model.parameters(), variables.u, variables.v])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


# Consistency


def test_consistency_pushes_the_strong_view_only() -> None:
    """By weight / B (softmax of the strong view - softmax of the weak one)."""
    logits, u, v = drawn(0, 10, 4, 5)
    weak, strong = logits.detach().view(2, 5, 4)
    both = torch.stack([weak, strong]).requires_grad_()
    batch = batch_of([0, 1, 2, 3, 0], classes=4)
    plain, plus = (started(SOPPlus(consistency=c), u[:, 0], v) for c in (0.0, 0.6))
    alone, alone_gradient = visited(plain, weak.clone().requires_grad_(), batch)
    loss, gradient = visited(plus, both, batch)
    p, q = softmax(weak, -1), softmax(strong, -1)
    close(loss - alone, 0.6 * (p * (p / q).log()).sum(-1).mean(), rtol=1e-5)
    assert torch.equal(gradient[0], alone_gradient)
    close(gradient[1], 0.6 / 5 * (q - p), rtol=1e-4, atol=1e-7)
    assert torch.equal(plain.variables.u, plus.variables.u)
    assert torch.equal(plain.variables.v, plus.variables.v)


def test_views_that_agree_cost_nothing() -> None:
    logits, u, v = drawn(1, 4, 3, 4)
    batch = batch_of([0, 1, 2, 0])
    alone = visited(started(SOPPlus(consistency=0.0), u[:, 0], v), logits, batch)[0]
    both = torch.stack([logits.detach()] * 2).requires_grad_()
    loss, gradient = visited(started(SOPPlus(), u[:, 0], v), both, batch)
    assert loss == pytest.approx(alone, rel=1e-6)
    assert gradient[1].abs().amax() < 1e-7


# Balance


def test_balance_by_hand() -> None:
    """Corrected probabilities (.75, .25) and (.6, .4): means (.675, .325)."""
    logits = logits_of([[0.5, 0.5], [0.6, 0.4]])
    # p = (.5, .5), u = 1, v = 0: (1.5, .5) / 2
    start = [1.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]
    batch = batch_of([0, 1], classes=2)
    given = [(started(SOPPlus(consistency=0.0, balance=b, lr_u=12.8), *start)) for b in (0.0, 2.0)]
    (alone, plain), (loss, gradient) = (visited(method, logits, batch) for method in given)
    close(loss - alone, -2 / 2 * (np.log(0.675) + np.log(0.325)), rtol=1e-6)
    # by q, un-averaged: -2 / (2 mean); of row 0 through p + u^2, divided by its sum 2
    slope = -1 / np.array([0.675, 0.325])
    pulled = (slope - slope @ [0.75, 0.25]) / 2
    moved = given[1].variables.u[0] - given[0].variables.u[0]
    close(moved, [-0.1 * 2 * 1 * pulled[0]], rtol=1e-4)
    assert given[0].variables.u[1] == given[1].variables.u[1] == 0
    assert torch.equal(given[0].variables.v, given[1].variables.v)
    # by the logits of row 0, averaged over two rows
    p = np.array([0.5, 0.5])
    close((gradient - plain)[0], p * (pulled - p @ pulled) / 2, rtol=1e-4)


# A class absent from the batch, two classes, one row


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("label", [[0, 1, 0, 0, 1], [2, 2, 2, 2, 2], [1], [0]])
@pytest.mark.parametrize("classes", [2, 4])
def test_small_batches_move_as_by_dense_gradients(
    classes: int, label: list[int], project: bool
) -> None:
    label = [min(y, classes - 1) for y in label]
    logits, u, v = drawn(classes, len(label), classes, 7)
    if project:
        u, v = u.clamp(-1, 1), v.clamp(-1, 1)
    batch = batch_of(label, range(1, 1 + len(label)), classes)
    method: Any = SOPPlus(lr_u=2.0, lr_v=5.0, consistency=0.0, balance=0.8, project=project)
    method = started(method, u[:, 0], v)
    loss, by_logits, by_u, by_v = dense(u, v, logits, batch, project=project, balance=0.8)
    given, gradient = visited(method, logits, batch)
    after = u - 2 / 128 * by_u, v - 5 / 128 * by_v
    if project:
        after = after[0].clamp(-1, 1), after[1].clamp(-1, 1)
    close(given, loss, rtol=1e-5)
    close(gradient, by_logits, rtol=1e-4, atol=1e-6)
    close(method.variables.u, after[0], rtol=1e-5, atol=1e-6)
    close(method.variables.v, after[1], rtol=1e-5, atol=1e-6)


def test_a_batch_far_from_a_class_stays_finite() -> None:
    logits = torch.tensor([[80.0, 0.0, -80.0], [80.0, -80.0, 0.0]]).requires_grad_()
    method = started(SOPPlus(consistency=0.0), [0.0, 0.0], [[0.0] * 3] * 2)
    loss, gradient = visited(method, logits, batch_of([1, 2]))
    assert np.isfinite(loss)
    assert gradient.isfinite().all()
    assert method.variables.u.isfinite().all()


def test_a_batch_of_no_weight_keeps_the_terms_that_know_no_label() -> None:
    logits, u, v = drawn(3, 10, 4, 5)
    both = logits.detach().view(2, 5, 4).requires_grad_()
    batch = batch_of([0, 1, 2, 3, 0], classes=4)
    batch = replace(batch, y=0 * batch.y)
    losses = {}
    for consistency, balance in ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):
        method: Any = SOPPlus(consistency=consistency, balance=balance)
        views = both if consistency else both[0]
        losses[consistency, balance], gradient = visited(started(method, u[:, 0], v), views, batch)
        assert gradient.isfinite().all()
    assert min(losses.values()) > 0
    assert losses[0.5, 0.5] == pytest.approx(losses[0.5, 0.0] + losses[0.0, 0.5], rel=1e-5)
    none = visited(started(SOP(), u[:, 0], v), logits[:5], batch)[0]
    assert none == 0


@pytest.mark.parametrize("rows", [1, 33])
def test_batches_of_one_row_and_left_over_rows_train(rows: int, data: Dataset) -> None:
    part = replace(data, train=data.train[:rows])
    loop = Loop(tiny({"sop-plus": {}}, epochs=1), part)
    while not loop.ended:
        report = loop.train()
    assert not report["diverged"]
    assert loop.steps == 1
