"""SOP's formulas: by hand, against dense gradients, and what a row's step may depend on."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from trainables.data.batch import Batch, Part
from trainables.methods.base import Method
from trainables.methods.mixup import mixed
from trainables.methods.overparametrization import EPS
from trainables.methods.smooth import smoothed
from trainables.methods.sop import SOP
from trainables.methods.sop_plus import SOPPlus

close = np.testing.assert_allclose


def started(method: Any, u: Any, v: Any, labels: Any = None) -> Any:
    """The method at the start of a run, with these u (N,) and v (N, K)."""
    v = torch.as_tensor(v, dtype=torch.float32)
    labels = torch.zeros(len(v), dtype=torch.long) if labels is None else torch.as_tensor(labels)
    run: Any = SimpleNamespace(
        size=v.shape[0],
        classes=v.shape[1],
        device=torch.device("cpu"),
        labels=labels,
        stream=lambda name: torch.Generator().manual_seed(0),
    )
    method.start(run)
    u = torch.as_tensor(u, dtype=torch.float32)[:, None]
    method.load_state_dict({"pair": torch.cat([u, v], 1)})
    return method


def batch_of(label: Any, index: Any = None, classes: int = 3) -> Batch:
    label = torch.as_tensor(label)
    index = torch.arange(len(label)) if index is None else torch.as_tensor(index)
    y = one_hot(label, classes).float()
    return Batch(torch.zeros(len(label), 1, 2, 2), y, label, index, (Part(index, label, 1.0),))


def logits_of(probabilities: Any) -> Tensor:
    return torch.tensor(probabilities).log().requires_grad_()


def visited(method: Method, logits: Tensor, batch: Batch) -> tuple[float, Tensor]:
    """One step of the variables; the loss and its gradient in the logits."""
    run: Any = None
    loss = method.loss(logits, batch, run)
    (gradient,) = torch.autograd.grad(loss, logits)
    method.step(batch, run)
    return float(loss.detach()), gradient


def dense(
    u: Tensor, v: Tensor, logits: Tensor, batch: Batch, *, project: bool, balance: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, and gradients by logits and by all of u and v, as plainly as the formulas are written.

    What the variables descend is the sum over rows of given labels, each of weight 1.
    """
    leaves = [tensor.clone().requires_grad_() for tensor in (logits.detach(), u, v)]
    f, u, v = leaves
    classes = f.shape[-1]
    given, moved = torch.zeros_like(f), torch.zeros_like(f)
    squares = torch.zeros(len(f))
    hit = one_hot(f.argmax(-1), classes)
    for part in batch.parts:
        y = one_hot(part.label, classes)
        up, down = u[part.index].square() * y, v[part.index].square() * (1 - y)
        if not project:
            up, down = up.clamp(max=1), down.clamp(max=1)
        given = given + part.share * y
        moved = moved + part.share * (up - down.detach())
        squares = squares + part.share * (hit + up - down - y).square().sum(-1)
    q = (softmax(f, -1) + moved).clamp(min=EPS)
    q = (q / q.sum(-1, keepdim=True)).clamp(min=EPS)
    even = -q.mean(0).log().mean()
    weight = batch.y.sum(-1)
    learned = ((-batch.y * q.log()).sum(-1) + weight * squares).sum() / weight.sum()
    taken = (-(given * q.log()).sum(-1) + squares).sum() + len(f) * balance * even
    loss = learned + balance * even
    (by_logits,) = torch.autograd.grad(loss, f, retain_graph=True)
    by_u, by_v = torch.autograd.grad(taken, (u, v))
    return loss.detach(), by_logits, by_u, by_v


def drawn(seed: int, rows: int, classes: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, and u and v of `size` examples, a fifth of them beyond 1 and a fifth at it."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=draw)
    u, v = torch.randn(size, 1, generator=draw), torch.randn(size, classes, generator=draw)
    return logits.requires_grad_(), 0.8 * u, 0.8 * v


def shuffled(batch: Batch, share: float, seed: int) -> Batch:
    order = torch.randperm(len(batch.label), generator=torch.Generator().manual_seed(seed))
    return mixed(batch, share, order)


KINDS: dict[str, Callable[[Batch], Batch]] = {
    "plain": lambda batch: batch,
    "twice": lambda batch: replace(
        batch,
        index=(twice := torch.tensor([3, 5, 3, 3, 5, 0])),
        label=(label := torch.tensor([1, 2, 1, 1, 2, 0])),
        y=one_hot(label, 4).float(),
        parts=(Part(twice, label, 1.0),),
    ),
    "mixed": lambda batch: shuffled(batch, 0.7, 0),
    "mixed twice": lambda batch: shuffled(shuffled(batch, 0.7, 0), 0.4, 1),
    "smoothed, weighted, mixed": lambda batch: shuffled(
        replace(batch, y=smoothed(batch.y, 0.2, "others") * torch.arange(6.0)[:, None]), 0.3, 2
    ),
}


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_rows_move_as_by_dense_gradients(kind: str, project: bool, seed: int) -> None:
    logits, u, v = drawn(seed, 6, 4, 9)
    if project:
        u, v = u.clamp(-1, 1), v.clamp(-1, 1)
    label = torch.randint(4, (6,), generator=torch.Generator().manual_seed(seed))
    batch = KINDS[kind](batch_of(label, [8, 1, 4, 0, 6, 3], classes=4))
    method = started(SOP(lr_u=3.0, lr_v=7.0, project=project), u[:, 0], v)
    loss, by_logits, by_u, by_v = dense(u, v, logits, batch, project=project)
    given, gradient = visited(method, logits, batch)
    after = u - 3 / 128 * by_u, v - 7 / 128 * by_v
    if project:
        after = after[0].clamp(-1, 1), after[1].clamp(-1, 1)
    close(given, loss, rtol=1e-5)
    close(gradient, by_logits, rtol=1e-5, atol=1e-6)
    close(method.variables.u, after[0], rtol=1e-5, atol=1e-6)
    close(method.variables.v, after[1], rtol=1e-5, atol=1e-6)
    untouched = sorted(set(range(9)) - {int(i) for part in batch.parts for i in part.index})
    assert untouched
    assert torch.equal(method.variables.u[untouched], u[untouched])
    assert torch.equal(method.variables.v[untouched], v[untouched])
    assert not torch.equal(method.variables.u, u)


def test_a_step_by_hand() -> None:
    """p = (.6, .3, .1), given class 1; moved to (.56, .55, .09), of sum 1.2; predicted class 0."""
    method = started(SOP(lr_u=128.0, lr_v=128.0, project=False), [0.5], [[0.2, 0.7, 0.1]])
    loss, gradient = visited(method, logits_of([[0.6, 0.3, 0.1]]), batch_of([1]))
    close(loss, -np.log(0.55 / 1.2) + 0.96**2 + 0.75**2 + 0.01**2, rtol=1e-6)
    # by p: (1, 1, 1) / 1.2 - (0, 1, 0) / .55, pulled through softmax
    pulls = np.array([0, -1 / 0.55, 0]) + 1 / 1.2
    p = np.array([0.6, 0.3, 0.1])
    close(gradient[0], p * (pulls - p @ pulls), rtol=1e-5)
    by_u = 4 * 0.5 * (0.25 - 1) - 2 * 0.5 * (1 / 0.55 - 1 / 1.2)
    close(method.variables.u, [[0.5 - by_u]], rtol=1e-6)
    # v of the given class is not part of anything
    by_v = np.array([4 * 0.2 * (0.04 - 1), 0, 4 * 0.1 * 0.01])
    close(method.variables.v[0], np.array([0.2, 0.7, 0.1]) - by_v, rtol=1e-6)


@pytest.mark.parametrize(
    ("p", "factor"), [(0.1, 2.7), (0.01, 17), (0.001, 157), (1e-5, 1.31)], ids=str
)
def test_growth_of_u_per_visit_where_another_class_is_predicted(p: float, factor: float) -> None:
    """1 + lr/128 (4 + 2 (1/p - 1)); below eps cross-entropy passes nothing: 1 + 4 lr/128."""
    method = started(SOP(lr_u=10.0), [1e-8], [[1e-8, 1e-8, 1e-8]])
    visited(method, logits_of([[p, 0.8 - p / 2, 0.2 - p / 2]]), batch_of([0]))
    grown = float(method.variables.u / 1e-8)
    assert grown == pytest.approx(factor, rel=0.02)
    exact = 1 + 10 / 128 * (4 + 2 * (1 / p - 1) * (p > EPS))
    assert grown == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("lr", "factor"), [(10.0, 1.3125), (100.0, 4.125)])
def test_growth_of_v_per_visit(lr: float, factor: float) -> None:
    method = started(SOP(lr_v=lr), [1e-8], [[1e-8, 1e-8, 1e-8]])
    visited(method, logits_of([[0.1, 0.7, 0.2]]), batch_of([0]))
    close(method.variables.v[0] / 1e-8, [1, factor, 1], rtol=1e-4)


def test_a_label_the_network_follows_is_given_back() -> None:
    """Where the prediction agrees with the label u and v shrink, whatever they have taken up."""
    method = started(SOP(), [0.5], [[0.0, 0.6, 0.4]])
    for _ in range(400):
        visited(method, logits_of([[0.9998, 1e-4, 1e-4]]), batch_of([0]))
    assert float(method.variables.u.abs()) < 0.1
    assert float(method.variables.v.abs().amax()) < 0.1


def test_a_label_the_network_contradicts_is_taken_up() -> None:
    """u^2 and v^2 of the predicted class go to 1, v of the third class to 0: the label is moved."""
    method = started(SOP(), [1e-8], [[1e-8, 1e-8, 0.3]])
    for _ in range(200):
        visited(method, logits_of([[0.05, 0.9, 0.05]]), batch_of([0]))
    close(method.variables.u, [[1.0]], atol=1e-6)
    close(method.variables.v[0], [0, 1, 0], atol=0.1)
    close(method.variables.rows()["corrected"], [1.0])


# The least probability


@pytest.mark.parametrize(
    ("u", "v", "moves"),
    [
        (0.0, [0.0, 0.0, 0.0], False),  # S is a little above 1: both clamps bite
        (0.005, [0.0, 0.0, 0.0], False),  # p + u^2 = 3.5e-5
        (0.0, [0.0, 0.3, 0.0], True),  # class 1 is lowered, S = 0.91: eps / S is above eps
        (0.02, [0.0, 0.0, 0.0], True),  # p + u^2 = 4.1e-4
    ],
)
def test_when_a_probability_below_eps_teaches_the_network(
    u: float, v: list[float], moves: bool
) -> None:
    method = started(SOP(), [u], [v])
    gradient = visited(method, logits_of([[1e-5, 0.8, 0.19999]]), batch_of([0]))[1]
    assert bool(gradient.any()) == moves


# The range of u and v


@pytest.mark.parametrize("size", [1.0, -1.0, 1.2, -3.0])
def test_unprojected_variables_are_stuck_from_one_on(size: float) -> None:
    method = started(SOP(project=False), [size], [[size, size, size]])
    for probabilities in ([0.98, 0.01, 0.01], [0.01, 0.98, 0.01]):
        visited(method, logits_of([probabilities]), batch_of([0]))
    assert method.variables.u.tolist() == [[np.float32(size)]]
    assert method.variables.v.tolist() == [[np.float32(size)] * 3]


@pytest.mark.parametrize("size", [1.0, -1.0])
def test_projected_variables_recover_from_exactly_one(size: float) -> None:
    method = started(SOP(project=True), [size], [[0.0, size, size]])
    visited(method, logits_of([[0.9998, 1e-4, 1e-4]]), batch_of([0]))
    assert method.variables.u.abs() < 0.9
    assert (method.variables.v.abs()[0, 1:] < 0.9).all()
    for _ in range(400):
        visited(method, logits_of([[0.9998, 1e-4, 1e-4]]), batch_of([0]))
    assert method.variables.suspicion() < 0.1


def test_projected_variables_stay_in_range() -> None:
    method = started(SOP(lr_u=1000.0, lr_v=1000.0), [0.4, -0.4, 0.4], [[0.4, -0.4, 0.4]] * 3)
    batch = batch_of([0, 0], [0, 1])
    for probabilities in ([0.01, 0.9, 0.09], [0.99, 0.005, 0.005]):
        visited(method, logits_of([probabilities] * 2), batch)
        for moved in (method.variables.u, method.variables.v):
            assert moved.abs().amax() <= 1
    assert method.variables.u[2] == np.float32(0.4)


# Which labels count as corrected


def test_corrected_is_what_argmax_says() -> None:
    draw = torch.Generator().manual_seed(0)
    u, v = torch.rand(500, generator=draw), torch.rand(500, 4, generator=draw)
    labels = torch.randint(4, (500,), generator=draw)
    method = started(SOP(), u, v, labels)
    y = one_hot(labels, 4)
    left = y - (u.square()[:, None] * y - v.square() * (1 - y))
    corrected = left.argmax(1) != labels
    assert 0.1 < corrected.float().mean() < 0.9
    assert torch.equal(method.suspicion() > 1, corrected)
    assert torch.equal(method.rows()["corrected"] > 0, corrected)
    assert method.metrics()["corrected"] == pytest.approx(float(corrected.float().mean()))
    assert method.metrics()["u2"] == pytest.approx(float(u.square().mean()))


def test_a_v_that_one_plus_it_rounds_away_corrects_all_the_same() -> None:
    method = started(SOP(), [1.0, 1.0, 0.9999], [[0.0, 1e-8], [1e-8, 0.0], [0.0, 1e-8]])
    assert method.rows()["corrected"].tolist() == [1.0, 0.0, 0.0]  # row 1's v is of its own class


# What a row's step depends on


@pytest.mark.parametrize("method", [SOP, lambda: SOPPlus(balance=0.0, consistency=0.0)])
def test_a_rows_step_does_not_depend_on_who_shares_its_batch(method: Any) -> None:
    logits, u, v = drawn(0, 128, 4, 128)
    label = torch.randint(4, (128,), generator=torch.Generator().manual_seed(0))
    after = []
    for rows in (1, 7, 128):
        moved = started(method(), 0.1 * u[:, 0], 0.1 * v)
        visited(moved, logits[:rows], batch_of(label[:rows], classes=4))
        after.append((moved.variables.u[0], moved.variables.v[0]))
    assert not torch.equal(after[0][0], 0.1 * u[0])
    for by_u, by_v in after[1:]:
        close(by_u, after[0][0], rtol=1e-6)
        close(by_v, after[0][1], rtol=1e-6)


CHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "weights": lambda y: y * torch.tensor([1.0, 0.01, 0.0, 30.0, 0.3, 1e-9])[:, None],
    "no weight": lambda y: 0 * y,
    "smoothing": lambda y: smoothed(y, 0.3, "all"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_weights_and_smoothing_reach_the_network_only(kind: str) -> None:
    logits, u, v = drawn(1, 6, 4, 6)
    plain = batch_of([0, 1, 2, 3, 0, 1], classes=4)
    steps = []
    for batch in (plain, replace(plain, y=CHANGED[kind](plain.y))):
        method = started(SOP(), u[:, 0], v)
        loss, gradient = visited(method, logits, batch)
        assert np.isfinite(loss)
        assert gradient.isfinite().all()
        steps.append((method.variables.u, method.variables.v, gradient))
    assert torch.equal(steps[0][0], steps[1][0])
    assert torch.equal(steps[0][1], steps[1][1])
    assert not torch.equal(steps[0][2], steps[1][2])


def test_a_batch_of_no_weight_costs_nothing() -> None:
    logits, u, v = drawn(2, 3, 3, 3)
    batch = batch_of([0, 1, 2])
    loss, gradient = visited(started(SOP(), u[:, 0], v), logits, replace(batch, y=0 * batch.y))
    assert loss == 0
    assert not gradient.any()


def test_the_first_variables_are_as_wide_as_asked() -> None:
    method = started(SOP(init=0.01), np.zeros(4000), np.zeros((4000, 3)))
    run: Any = SimpleNamespace(
        size=4000,
        classes=3,
        device=torch.device("cpu"),
        labels=torch.zeros(4000, dtype=torch.long),
        stream=lambda name: torch.Generator().manual_seed(3),
    )
    method.start(run)
    assert method.variables.u.shape == (4000, 1)
    assert method.variables.v.shape == (4000, 3)
    both = torch.cat([method.variables.u, method.variables.v], 1)
    close(both.std(0), 0.01, rtol=0.06)
    close(both.mean(0), 0, atol=5 * 0.01 / 4000**0.5)
    assert method.memory(4000, 3) == sum(value.nbytes for value in method.state_dict().values())
